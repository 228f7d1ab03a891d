"""Batches for evaluation: whole images, each exactly once."""

import collections
import concurrent.futures
from collections.abc import Iterator, Sequence

import numpy as np

from input_pipeline.batches.arguments import check_least, check_shard
from input_pipeline.batches.padded_shapes import NO_SHAPES, Shapes, Size
from input_pipeline.sources.base import Source
from input_pipeline.sources.labels import IGNORE

# How many images may wait for others of their size. If more wait, the images of the size that has
# waited longest become a batch that is not full.
MAX_WAITING = 256


def evaluation_batches(
    source: Source,
    *,
    batch_size: int,
    num_threads: int = 2,
    shard: tuple[int, int] = (0, 1),
    shapes: Shapes = NO_SHAPES,
    indices: Sequence[int] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields every image of a source once, in batches of equal image size.

    Batches fill up in list order; incomplete batches are padded with black rows of label 255. With
    `shapes`, each image is put into the upper left corner of the smallest shape for its size,
    and padded with black pixels of label 255.

    Args:
        source: Images, with or without labels.
        batch_size: B, rows of every batch.
        num_threads: Threads that decode ahead.
        shard: (index, count); only the images index, index + count, .. are read.
        shapes: From `choose_shapes`. `NO_SHAPES`: Batches have the sizes of the images.
        indices: The images to read. None: All of them.

    Yields:
        {'image': uint8 [B, H, W, 3], 'label': uint8 [B, H, W], 'index': int32 [B]}, where index is
        the place in the source, or -1 for a padding row. Without labels, all pixels have label 255.
        With `shapes` also 'size': int32 [B, 2], the height and width of each image, which are 1 for
        a padding row.

    Raises:
        DataError: A file cannot be used.
    """
    check_least(batch_size=(batch_size, 1), num_threads=(num_threads, 1))
    check_shard(shard)
    first, count = shard
    own = (range(len(source)) if indices is None else indices)[first::count]
    return _batches(source, own, batch_size, num_threads, shapes)


def _batches(
    source: Source, indices: Sequence[int], batch_size: int, num_threads: int, shapes: Shapes
) -> Iterator[dict]:
    waiting: dict[Size, list] = {}  # In the order of each shape's first image.
    elements = decode_ahead(source, num_threads, indices)
    for index, element in zip(indices, elements, strict=True):
        shape = element["image"].shape[:2]
        if shapes:
            shape = shapes.covering(shape, source.ids[index])
        bucket = waiting.setdefault(shape, [])
        bucket.append((index, element))
        if len(bucket) == batch_size:
            yield _stack(waiting.pop(shape), batch_size, shape, with_sizes=bool(shapes))
        elif sum(map(len, waiting.values())) >= max(MAX_WAITING, batch_size):
            shape = next(iter(waiting))
            yield _stack(waiting.pop(shape), batch_size, shape, with_sizes=bool(shapes))
    for shape, bucket in waiting.items():
        yield _stack(bucket, batch_size, shape, with_sizes=bool(shapes))


def decode_ahead(
    source: Source, num_threads: int, indices: Sequence[int] | None = None
) -> Iterator[dict]:
    """Yields the elements of a source (all, or those at `indices`) while threads decode ahead."""
    indices = range(len(source)) if indices is None else indices
    executor = concurrent.futures.ThreadPoolExecutor(num_threads, "evaluation-decode")
    pending: collections.deque = collections.deque()
    try:
        for index in indices:
            pending.append(executor.submit(source.__getitem__, index))
            if len(pending) > 2 * num_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _stack(
    bucket: list, batch_size: int, shape: Size, *, with_sizes: bool
) -> dict[str, np.ndarray]:
    batch = {
        "image": np.zeros((batch_size, *shape, 3), np.uint8),
        "label": np.full((batch_size, *shape), IGNORE, np.uint8),
        "index": np.full(batch_size, -1, np.int32),
    }
    sizes = np.ones((batch_size, 2), np.int32)
    for row, (index, element) in enumerate(bucket):
        sizes[row] = height, width = element["image"].shape[:2]
        batch["image"][row, :height, :width] = element["image"]
        batch["label"][row, :height, :width] = element.get("label", IGNORE)
        batch["index"][row] = index
    return {**batch, "size": sizes} if with_sizes else batch
