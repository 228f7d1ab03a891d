"""Opens the labelled, unlabelled and validation parts of a data set, and checks them."""
