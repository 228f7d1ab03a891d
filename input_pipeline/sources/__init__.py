"""Where images and masks come from: folders, records, drawn scenes."""
