"""Turns images and masks into training and evaluation batches of numpy arrays, without JAX."""

from input_pipeline.batches.evaluation import evaluation_batches
from input_pipeline.batches.padded_shapes import NO_SHAPES, Shapes, choose_shapes, count_sizes
from input_pipeline.batches.training import train_stream
from input_pipeline.errors import DataError, WorkerError
from input_pipeline.partitions.checks import check_partition
from input_pipeline.partitions.partition import Partition, num_steps_per_epoch, open_partition

__all__ = [
    "NO_SHAPES",
    "DataError",
    "Partition",
    "Shapes",
    "WorkerError",
    "check_partition",
    "choose_shapes",
    "count_sizes",
    "evaluation_batches",
    "num_steps_per_epoch",
    "open_partition",
    "train_stream",
]
