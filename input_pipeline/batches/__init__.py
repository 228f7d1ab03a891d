"""Makes training, evaluation and prediction batches from the parts of a data set."""
