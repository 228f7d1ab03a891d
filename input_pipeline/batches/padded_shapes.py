"""Pads images of many sizes to a few shapes, so that a network is compiled only for these."""

import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.sources.base import Source

Size = tuple[int, int]
# From a size to a value that is equal for sizes of images that may share a batch.
Kind = Callable[[Size], Hashable]
# If there are more sizes, they are rounded up first; this bounds the time and memory of comparing
# all pairs.
MAX_GROUPS = 512


@dataclasses.dataclass(frozen=True)
class Shapes:
    """The shapes that images are padded to; false if there are none, and images keep their sizes.

    Attributes:
        sizes: Height and width of each shape.
        kind: An image is only padded to a shape of its kind. None: to any that it fits into.
    """

    sizes: tuple[Size, ...] = ()
    kind: Kind | None = None

    def __bool__(self) -> bool:
        return bool(self.sizes)

    def smallest(self, size: Size) -> Size | None:
        """The shape of the smallest area for images of a size; None if there is none."""
        fitting = [shape for shape in self.sizes if shape[0] >= size[0] and shape[1] >= size[1]]
        if self.kind is not None:
            fitting = [shape for shape in fitting if self.kind(shape) == self.kind(size)]
        return min(fitting, key=_area_first, default=None)

    def covering(self, size: Size, path: str) -> Size:
        """The shape of the smallest area for an image.

        Args:
            size: Height and width of the image.
            path: The name of the image in messages.

        Raises:
            DataError: There is none.
        """
        if shape := self.smallest(size):
            return shape
        raise DataError(
            f"{path}: the image has {size[1]}x{size[0]} pixels (width x height), but its header "
            "gave another size. Do not change images while they are evaluated; if it was not "
            "changed, copy it again."
        )


NO_SHAPES = Shapes()


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


def choose_shapes(counts: Mapping[Size, int], max_shapes: int, kind: Kind | None = None) -> Shapes:
    """Chooses shapes that together cover all sizes with few padded pixels.

    At first every size is a shape. Then two shapes at a time are replaced by the smallest shape
    that covers both, always those two whose images need the fewest additional pixels, until
    `max_shapes` are left. The result depends only on the counts.

    Args:
        counts: Number of images by (height, width) in pixels.
        max_shapes: The largest number of shapes; 0 for no limit.
        kind: If given, there is one shape for each kind of size, however many there are. The
            smallest shape that covers sizes of one kind must be of this kind.

    Returns:
        The shapes, smallest area first. `NO_SHAPES` if there are at most `max_shapes` sizes, or as
        many kinds as sizes: then the images need no padding.

    >>> choose_shapes({(10, 10): 1, (10, 11): 9, (30, 20): 5, (29, 20): 1}, 2).sizes
    ((10, 11), (30, 20))
    """
    if not max_shapes:
        return NO_SHAPES
    if kind is not None:
        return _one_for_each(kind, counts)
    if len(counts) <= max_shapes:
        return NO_SHAPES
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
    return Shapes(tuple(sorted(shapes, key=_area_first)))


def _one_for_each(kind: Kind, sizes: Collection[Size]) -> Shapes:
    shapes: dict[Hashable, Size] = {}
    for size in sizes:
        height, width = shapes.get(kind(size), size)
        shapes[kind(size)] = max(height, size[0]), max(width, size[1])
    if len(shapes) == len(sizes):
        return NO_SHAPES
    return Shapes(tuple(sorted(shapes.values(), key=_area_first)), kind)


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


def _area_first(shape: Sequence[int]) -> tuple[int, int, int]:
    return shape[0] * shape[1], shape[0], shape[1]
