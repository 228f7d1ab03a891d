"""A run's networks on its validation images: confusion matrix and pictures."""

import math
from collections.abc import Iterator

import numpy as np

import input_pipeline
from rcc_jax.distributed import processes
from rcc_jax.reporting import palettes, prediction_sheet
from rcc_jax.training.run import Run


def evaluate_confusion(run: Run, weights, should_stop=lambda: False) -> np.ndarray | None:
    """Confusion matrix [K, K] (rows = truth) over the validation images.

    Each process counts its share of the images; then the counts are summed.

    Args:
        run: The run.
        weights: Weights of the network.
        should_stop: Called before each batch; True in any process makes the result None in all.
    """
    shard = processes.index(), processes.count()
    own = run.evaluator.confusion(weights, _batches(run, shard), should_stop=should_stop)
    counts = processes.gather(None if own is None else own.tolist())
    return None if None in counts else np.sum(counts, axis=0, dtype=np.int64)


def _batches(run: Run, shard: tuple[int, int] = (0, 1)) -> Iterator[dict[str, np.ndarray]]:
    return input_pipeline.evaluation_batches(
        run.partition.val,
        # eval.batch_size counts the images on all devices of all processes.
        batch_size=math.ceil(run.config.eval.batch_size / processes.count()),
        num_threads=run.config.data.num_threads,
        shard=shard,
        shapes=run.padded_shapes,
    )


def draw_predictions(run: Run, weights) -> list[list[np.ndarray]] | None:
    """The panels of some validation images, as `prediction_sheet.panels` draws them.

    Args:
        run: The run.
        weights: Weights of the network.

    Returns:
        A row per image; None if `eval.pictures` is 0.
    """
    count = min(run.config.eval.pictures, len(run.partition.val))
    if not count:
        return None
    found = []
    # Spread evenly: neighbours in a list often show the same scene.
    for batch in _batches(run, (0, len(run.partition.val) // count)):
        # Drop the other rows to save memory; this compiles a separate program anyway.
        rows = np.flatnonzero(batch["index"] >= 0)[: count - len(found)]
        batch = {name: array[rows] for name, array in batch.items()}
        seen = run.evaluator.describe(weights, batch["image"], batch.get("size"))
        sizes = batch.get("size", [batch["label"].shape[1:]] * len(rows))
        shown = batch["image"], batch["label"], seen["labels"], seen["confidence"]
        for (height, width), *pictures in zip(sizes, *shown, strict=True):
            found.append([picture[:height, :width] for picture in pictures])
        if len(found) == count:
            break
    palette = palettes.of_data(run.config.data)
    return prediction_sheet.panels(*zip(*found, strict=True), palette)
