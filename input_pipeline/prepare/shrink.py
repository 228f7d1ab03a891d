"""A copy of a folder of images and masks at a fraction of their size, for small machines."""

import io
import os
import pathlib

import PIL.Image

from input_pipeline.errors import DataError
from input_pipeline.files import write_atomically
from input_pipeline.sources import images, labels

_LISTS = (".txt", ".json")
# A PNG in colour is a mask if it has at most this many, and 16 pixels of each on average.
MASK_COLORS = 256


def prepare(source: str, output: str, *, factor: int) -> None:
    """Copies the lists and writes images and masks at 1 / factor of their height and width.

    Masks keep one in `factor` x `factor` pixels; photographs are averaged. PNG files of one channel
    (ids or a palette) are masks, and so are those of few colours (see `MASK_COLORS`).

    Args:
        source: The folder.
        output: The copy, with the same names; made if absent, and not inside `source`.
        factor: At least 2.

    Raises:
        DataError: A folder or file that cannot be used.
    """
    start, end = pathlib.Path(source).resolve(), pathlib.Path(output).resolve()
    if not start.is_dir():
        raise DataError(f"--source={source}: no such folder.")
    if end.is_relative_to(start):
        raise DataError(f"--output={output}: lies in --source; name a folder elsewhere.")
    if factor < 2:
        raise DataError(f"--factor={factor}: must be at least 2.")
    paths = _files(start)
    lists = [path for path in paths if path.suffix in _LISTS]
    if len(lists) == len(paths):
        raise DataError(f"--source={source}: no image there.")
    for path in paths:
        content = path.read_bytes() if path.suffix in _LISTS else _shrunk(path, factor)
        _write(end / path.relative_to(start), content)
    print(f"{output}: {len(paths) - len(lists)} images and masks, {len(lists)} lists")


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    """All files below a folder, and in folders that links lead to, each folder once."""
    found, seen = [], set()
    for where, folders, names in os.walk(folder, followlinks=True):
        here = os.path.realpath(where)
        if here in seen:  # A link to a folder above it would never end.
            folders.clear()
            continue
        seen.add(here)
        found += [path for name in names if (path := pathlib.Path(where, name)).is_file()]
    return sorted(found)


def _write(target: pathlib.Path, content: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content, durable=False)
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error.strerror}).") from None


def _shrunk(path: pathlib.Path, factor: int) -> bytes:
    """The smaller image or mask as the content of a file of the same format."""
    file = io.BytesIO()
    try:
        image = images.open_image(images.read_bytes(str(path)), str(path))
        form, size = image.format, [max(1, side // factor) for side in image.size]
        if form == "PNG" and image.mode in ("1", "L", "P"):
            packed = labels.packing(image)
            image = image.resize(size, PIL.Image.Resampling.NEAREST)
            # It is saved with 8 bits, whose values no reader divides.
            image = image.point(lambda value: value // packed) if packed > 1 else image
        elif form == "PNG" and image.getcolors(min(MASK_COLORS, image.width * image.height // 16)):
            image = image.resize(size, PIL.Image.Resampling.NEAREST)
        else:
            image = image.resize(size, PIL.Image.Resampling.BOX)
        image.save(file, form, quality=95)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: neither an image nor a list ({error}).") from None
    return file.getvalue()
