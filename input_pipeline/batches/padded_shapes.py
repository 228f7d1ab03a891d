"""A few shapes that images of many sizes are padded to, so that a network compiles for few."""

import collections
import concurrent.futures
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.sources.base import Source

Size = tuple[int, int]
# More sizes are rounded up first, to bound the time and memory of comparing all pairs.
MAX_GROUPS = 512


def count_sizes(
    source: Source, *, num_threads: int = 2, shard: tuple[int, int] = (0, 1)
) -> collections.Counter[Size]:
    """How many images of each (height, width) there are; reads headers alone.

    Args:
        source: The images.
        num_threads: Threads that read.
        shard: (index, count): the images index, index + count, .. alone.

    Raises:
        DataError: An image that cannot be read.
    """
    indices = range(shard[0], len(source), shard[1])
    with concurrent.futures.ThreadPoolExecutor(num_threads, "headers") as executor:
        return collections.Counter(executor.map(source.image_size, indices))


def choose_shapes(counts: Mapping[Size, int], max_shapes: int) -> tuple[Size, ...]:
    """Chooses shapes that together cover all sizes with few padded pixels.

    Each size starts as a shape of its own. Of all pairs of shapes the one whose smallest common
    cover adds the fewest pixels, over all its images, becomes that cover; and so on until
    `max_shapes` are left. The result depends on the counts alone.

    Args:
        counts: Number of images by (height, width) in pixels.
        max_shapes: Number of shapes; 0 = no limit.

    Returns:
        So many (height, width), sorted, smallest area first; none where there are no more sizes
        than that, and each may keep its own.

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
        # The first of equal pairs, so in the order of the sizes.
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
    """Pixels that a common cover adds to the images of two groups."""
    cover = np.maximum(height, heights) * np.maximum(width, widths)
    return images * (cover - height * width) + counts * (cover - heights * widths)


def _coarsened(counts: Mapping[Size, int]) -> list[tuple[int, int, int]]:
    """(height, width, images), sorted; sizes rounded up to a grid where there are too many."""
    grid = 1
    while True:
        cells: dict[Size, list] = {}
        for (height, width), images in sorted(counts.items()):
            cell = cells.setdefault((-(-height // grid), -(-width // grid)), [0, 0, 0])
            # The cover of what is in the cell, which may be less than the cell.
            cell[:] = max(cell[0], height), max(cell[1], width), cell[2] + images
        if len(cells) <= MAX_GROUPS:
            return sorted(map(tuple, cells.values()))
        grid *= 2


def covering(shapes: Iterable[Size], size: Size, path: str) -> Size:
    """The shape of the smallest area that an image fits into.

    Args:
        shapes: From `choose_shapes`.
        size: Height and width of the image.
        path: Names it in the message.

    Raises:
        DataError: None of them is large enough.
    """
    for shape in sorted(shapes, key=_area_first):
        if shape[0] >= size[0] and shape[1] >= size[1]:
            return shape
    raise DataError(
        f"{path}: {size[1]}x{size[0]} (width x height) is not what its header said before. Leave "
        "the images as they are while they are evaluated, or copy this one again."
    )


def _area_first(shape: Sequence[int]) -> tuple[int, int, int]:
    return shape[0] * shape[1], shape[0], shape[1]
