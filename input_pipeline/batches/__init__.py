"""Views of images, joined into training and evaluation batches."""
