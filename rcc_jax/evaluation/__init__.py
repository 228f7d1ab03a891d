"""Scores of whole images: evaluator, test-time augmentation, IoU."""
