"""Finds images to predict, reads them upright and puts those of equal size into batches.

Training and evaluation read pixels as stored. Here an image is turned upright according to EXIF,
as viewers show it.
"""

import concurrent.futures
import dataclasses
import glob
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from input_pipeline import near_names
from input_pipeline.batches.evaluation import decode_ahead
from input_pipeline.batches.padded_shapes import NO_SHAPES, Shapes, Size
from input_pipeline.errors import DataError
from input_pipeline.partitions import lists
from input_pipeline.sources import images
from input_pipeline.sources.orientation import read_header, upright

# A batch with more pixels is no faster, and its probabilities may not fit into memory.
MAX_BATCH_PIXELS = 4 * 2**20

# Called with the path and the error of an image that cannot be used.
Report = Callable[[str, DataError], None]


@dataclasses.dataclass(frozen=True)
class Photo:
    """An image file whose header was read.

    Attributes:
        path: The image file.
        name: Its path below the input folder, without the suffix.
        height: Height of the upright image in pixels.
        width: Width of the upright image in pixels.
        orientation: The EXIF orientation, 1 to 8.
    """

    path: str
    name: str
    height: int
    width: int
    orientation: int

    @classmethod
    def open(cls, path: str, name: str = "") -> "Photo":
        """Reads the header of an image.

        Raises:
            DataError: The file is not a readable image.
        """
        height, width, orientation = read_header(path)
        if orientation >= 5:  # A quarter turn.
            height, width = width, height
        return cls(path, name, height, width, orientation)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the upright image."""
        return self.height, self.width

    def read(self) -> np.ndarray:
        """Reads the image upright, uint8 [H, W, 3].

        Raises:
            DataError: The image cannot be read.
        """
        image = upright(images.read_image(self.path), self.orientation)
        if image.shape[:2] != self.size:
            raise DataError(
                f"{self.path}: its header says {self.width}x{self.height}, but it has "
                f"{image.shape[1]}x{image.shape[0]} pixels (width x height). Copy it again."
            )
        return image


def find_photos(pattern: str, *, field: str, leave_out: str = "") -> tuple[str, dict[str, str]]:
    """Finds image files without opening them.

    Args:
        pattern: A file, a folder (with its subfolders) or a glob.
        field: The setting that holds the pattern, for messages.
        leave_out: A folder whose files are left out.

    Returns:
        The absolute path of the folder where the pattern starts, and the path of each image by its
        name. The name is the path below that folder, without the suffix.

    Raises:
        DataError: There is no image, or two images have the same name.
    """
    start, paths = _expand(os.path.abspath(os.path.expanduser(pattern)))
    kept = [path for path in paths if not leave_out or not _is_below(path, leave_out)]
    if not kept:
        is_glob = any(character in pattern for character in "*?[")
        there = is_glob or os.path.exists(os.path.expanduser(pattern))
        raise DataError(
            f"{field}={pattern}: no {'image found' if there else 'such file or folder'} (images "
            f"end in {', '.join(lists.IMAGE_SUFFIXES)}). Name an image, a folder or a glob."
            f"{near_names.hint(pattern)}"
        )
    found = {}
    for path in kept:
        name = os.path.splitext(os.path.relpath(path, start))[0]
        if name in found:
            raise DataError(
                f"{field}={pattern}: {found[name]} and {path} differ only in the suffix, so their "
                f"results would have the same name. Choose one suffix, as in "
                f"{field}='{start}/**/*{os.path.splitext(path)[1]}'."
            )
        found[name] = path
    return start, found


def _expand(pattern: str) -> tuple[str, list[str]]:
    if os.path.isfile(pattern):
        return os.path.dirname(pattern), [pattern]
    start = pattern
    while glob.has_magic(start) and not os.path.isdir(start):
        start = os.path.dirname(start)
    try:
        return start, lists.find_images(pattern, root="", field="")
    except DataError:
        return start, []


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(os.path.abspath(folder), ""))


def open_photos(found: dict[str, str], *, num_threads: int, on_fault: Report) -> list[Photo]:
    """Reads the headers of images.

    Args:
        found: Paths by name, from `find_photos`.
        num_threads: Threads that read.
        on_fault: Called with each image that cannot be used.

    Returns:
        The usable images, sorted by size and name.
    """
    photos = []
    with concurrent.futures.ThreadPoolExecutor(num_threads, "headers") as executor:
        opened = executor.map(_try(Photo.open), found.values(), found)
        for path, photo in zip(found.values(), opened, strict=True):
            if isinstance(photo, DataError):
                on_fault(path, photo)
            else:
                photos.append(photo)
    return sorted(photos, key=lambda photo: (photo.size, photo.name))


def _try(function: Callable) -> Callable:
    """A function that returns a DataError where `function` raises one."""

    def call(*arguments):
        try:
            return function(*arguments)
        except DataError as error:
            return error

    return call


@dataclasses.dataclass(frozen=True)
class PhotoBatch:
    """Images of the same size, or padded to the same size.

    Attributes:
        photos: The files.
        images: uint8 [B, H, W, 3], upright. B is at least the number of photos; further rows, and
            the pixels to the right of and below a smaller image, are black.
        sizes: Height and width of each image, int32 [B, 2], 1 for a padding row; None if no image
            is padded.
    """

    photos: tuple[Photo, ...]
    images: np.ndarray
    sizes: np.ndarray | None = None


def rows_by_shape(
    photos: Sequence[Photo], *, batch_size: int, shapes: Shapes = NO_SHAPES
) -> dict[Size, int]:
    """Returns how many rows the batches of each shape have, for all shapes that images need.

    Args:
        photos: The images.
        batch_size: The largest number of rows; batches of large images have fewer.
        shapes: The shapes that images are padded to, from `choose_shapes`. Empty: No padding.
    """
    counts: dict[Size, int] = {}
    for photo in photos:
        shape = _shape_of(photo, shapes)
        counts[shape] = counts.get(shape, 0) + 1
    return {
        shape: min(batch_size, count, max(1, MAX_BATCH_PIXELS // (shape[0] * shape[1])))
        for shape, count in sorted(counts.items())
    }


def _shape_of(photo: Photo, shapes: Shapes) -> Size:
    return shapes.covering(photo.size, photo.path) if shapes else photo.size


def photo_batches(
    photos: Sequence[Photo],
    *,
    batch_size: int,
    num_threads: int,
    on_fault: Report,
    shapes: Shapes = NO_SHAPES,
    rows: Mapping[Size, int] | None = None,
) -> Iterator[PhotoBatch]:
    """Decodes images in batches; all batches of a shape have the same number of rows.

    Args:
        photos: The images.
        batch_size: The largest number of rows; batches of large images have fewer.
        num_threads: Threads that decode ahead.
        on_fault: Called with each image that cannot be read.
        shapes: The shapes that images are padded to, from `choose_shapes`. Empty: No padding.
        rows: Rows of the batches of each shape, cut to `batch_size`. None: From `rows_by_shape`.
    """

    def shape_of(photo: Photo) -> Size:
        return _shape_of(photo, shapes)

    photos, groups = sorted(photos, key=shape_of), []
    rows = rows_by_shape(photos, batch_size=batch_size, shapes=shapes) if rows is None else rows
    for shape, alike in itertools.groupby(photos, shape_of):
        alike = list(alike)
        count = min(rows[shape], batch_size)
        groups += [(shape, count, alike[i : i + count]) for i in range(0, len(alike), count)]
    decoded = decode_ahead(_Decoder(photos), num_threads)
    for shape, count, group in groups:
        kept, batch = [], np.zeros((count, *shape, 3), np.uint8)
        sizes = np.ones((count, 2), np.int32)
        for photo in group:
            image = next(decoded)
            if isinstance(image, DataError):
                on_fault(photo.path, image)
            else:
                sizes[len(kept)] = photo.size
                batch[len(kept), : photo.height, : photo.width] = image
                kept.append(photo)
        if kept:
            yield PhotoBatch(tuple(kept), batch, sizes if shapes else None)


class _Decoder:
    """A sequence of decoded images, or of DataErrors where an image cannot be read."""

    def __init__(self, photos: Sequence[Photo]):
        self._photos = photos

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int) -> np.ndarray | DataError:
        return _try(Photo.read)(self._photos[index])
