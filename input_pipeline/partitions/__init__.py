"""Which images are labelled, unlabelled and for validation."""
