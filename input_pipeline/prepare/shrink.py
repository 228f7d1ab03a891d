"""A copy of a folder of images and masks at a fraction of their size, for small machines."""

import os
import pathlib
import shutil

import PIL.Image

from input_pipeline.errors import DataError
from input_pipeline.sources import images

_LISTS = (".txt", ".json")


def prepare(source: str, output: str, *, factor: int) -> None:
    """Copies the lists and writes images and masks at 1 / factor of their height and width.

    PNG files of one channel (ids or a palette) are masks, of which one in `factor` x `factor`
    pixels is kept. All others are photographs, which are averaged.

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
        target = end / path.relative_to(start)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in _LISTS:
            shutil.copyfile(path, target)
        else:
            _write(path, target, factor)
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


def _write(path: pathlib.Path, target: pathlib.Path, factor: int) -> None:
    try:
        image = images.open_image(images.read_bytes(str(path)), str(path))
        size = [max(1, side // factor) for side in image.size]
        is_mask = image.format == "PNG" and image.mode in ("1", "L", "P")
        how = PIL.Image.Resampling.NEAREST if is_mask else PIL.Image.Resampling.BOX
        image.resize(size, how).save(target, image.format, quality=95)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: neither an image nor a list ({error}).") from None
