"""Pads images of many sizes to a few shapes, so that a network is compiled only for these."""

import collections
import concurrent.futures
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.sources.base import Source

Size = tuple[int, int]
# If there are more sizes, they are rounded up first; this bounds the time and memory of comparing
# all pairs.
MAX_GROUPS = 512


def count_sizes(
    source: Source, *, num_threads: int = 2, shard: tuple[int, int] = (0, 1)
) -> collections.Counter[Size]:
    """Counts the images of each (height, width); reads only headers.

    Args:
        source: The images.
        num_threads: Threads that read.
        shard: (index, count); only the images index, index + count, .. are read.

    Raises:
        DataError: An image cannot be read.
    """
    indices = range(shard[0], len(source), shard[1])
    with concurrent.futures.ThreadPoolExecutor(num_threads, "headers") as executor:
        return collections.Counter(executor.map(source.image_size, indices))


def choose_shapes(counts: Mapping[Size, int], max_shapes: int) -> tuple[Size, ...]:
    """Chooses shapes that together cover all sizes with few padded pixels.

    At first every size is a shape. Then two shapes at a time are replaced by the smallest shape
    that covers both, always those two whose images need the fewest additional pixels, until
    `max_shapes` are left. The result depends only on the counts.

    Args:
        counts: Number of images by (height, width) in pixels.
        max_shapes: The largest number of shapes; 0 for no limit.

    Returns:
        The (height, width) of each shape, smallest area first. Empty if there are at most
        `max_shapes` sizes: then the images need no padding.

    >>> choose_shapes({(10, 10): 1, (10, 11): 9, (30, 20): 5, (29, 20): 1}, 2)
    ((10, 11), (30, 20))
    """
    if not max_shapes or len(counts) <= max_shapes:
        return ()
    groups = _coarsened(counts)
    heights, widths, images = (np.array(column, np.int64) for column in zip(*groups, strict=True))
    added = _added(heights[:, None], widths[:, None], images[:, None], heights, widths, images)
    never = np.iinfo(np.int64).max
    added[np.tril_indices(len(groups))] = never
    alive = np.ones(len(groups), bool)
    while alive.sum() > max_shapes:
        # Of equal pairs argmin takes the first one, in the order of the sizes.
        keep, drop = np.unravel_index(np.argmin(added), added.shape)
        heights[keep] = max(heights[keep], heights[drop])
        widths[keep] = max(widths[keep], widths[drop])
        images[keep] += images[drop]
        alive[drop] = False
        added[drop], added[:, drop] = never, never
        costs = _added(heights[keep], widths[keep], images[keep], heights, widths, images)
        costs[~alive] = never
        added[keep, keep + 1 :], added[:keep, keep] = costs[keep + 1 :], costs[:keep]
    shapes = zip(heights[alive].tolist(), widths[alive].tolist(), strict=True)
    return tuple(sorted(shapes, key=_area_first))


def _added(height, width, images, heights, widths, counts) -> np.ndarray:
    """Number of pixels that a common cover adds to the images of two groups."""
    cover = np.maximum(height, heights) * np.maximum(width, widths)
    return images * (cover - height * width) + counts * (cover - heights * widths)


def _coarsened(counts: Mapping[Size, int]) -> list[tuple[int, int, int]]:
    """Sorted (height, width, images); sizes are rounded up to a grid if there are too many."""
    grid = 1
    while True:
        cells: dict[Size, list] = {}
        for (height, width), images in sorted(counts.items()):
            cell = cells.setdefault((-(-height // grid), -(-width // grid)), [0, 0, 0])
            # The largest height and width in the cell, which may be smaller than the cell.
            cell[:] = max(cell[0], height), max(cell[1], width), cell[2] + images
        if len(cells) <= MAX_GROUPS:
            return sorted(map(tuple, cells.values()))
        grid *= 2


def covering(shapes: Iterable[Size], size: Size, path: str) -> Size:
    """The shape of the smallest area that an image fits into.

    Args:
        shapes: From `choose_shapes`.
        size: Height and width of the image.
        path: The name of the image in messages.

    Raises:
        DataError: No shape is large enough.
    """
    for shape in sorted(shapes, key=_area_first):
        if shape[0] >= size[0] and shape[1] >= size[1]:
            return shape
    raise DataError(
        f"{path}: the image has {size[1]}x{size[0]} pixels (width x height), but its header gave "
        "another size. Do not change images while they are evaluated; if it was not changed, copy "
        "it again."
    )


def _area_first(shape: Sequence[int]) -> tuple[int, int, int]:
    return shape[0] * shape[1], shape[0], shape[1]
