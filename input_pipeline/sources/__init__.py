"""Random access to images and masks: files, records of a TFDS dataset, drawn scenes."""
