"""From two official archives to a dataset; an interrupted preparation is resumed."""

import os
from collections.abc import Callable, Sequence

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.prepare import locate, records, storage
from input_pipeline.prepare.archives import Archive, Wanted
from input_pipeline.prepare.masks import MaskFolder
from input_pipeline.sources.images import open_image


def prepare(
    folder: str,
    sources: Sequence[str],
    archives: tuple[Wanted, Wanted],
    write: Callable[[str, Archive, Archive, MaskFolder], str],
    report: Callable[[str], None],
) -> str:
    """Makes the dataset `<folder>/1.0.0` unless it is complete.

    Args:
        folder: The folder of the dataset's versions; made if absent.
        sources: Where the archives, or their unpacked folders, are.
        archives: The archives to look for.
        write: Takes the folder of the dataset, the two archives and the folder of masks that are
            already converted; converts the others, writes the dataset and says what is in it.
        report: Takes a line of text about what is done.

    Returns:
        The folder of the dataset.

    Raises:
        DataError: An archive that is missing, truncated or not the expected one, or a full disk.
    """
    final = os.path.join(folder, records.VERSION)
    with storage.held(folder):
        if records.is_complete(final, report):
            return final
        first, second = archives
        with locate.find(sources, first) as one, locate.find(sources, second) as other:
            origin = f"{one.identity()}\n{other.identity()}\n"
            masks = MaskFolder(os.path.join(folder, "masks.partial"), origin)
            content = write(final, one, other, masks)
        masks.remove()
        report(f"{final}: {content}")
    return final


def read_png(data: bytes, file: str, wanted: Wanted, mode: str, meaning: str) -> np.ndarray:
    """The stored values of a mask, uint8 [H, W].

    Args:
        data: The bytes of the file.
        file: Its name in the archive.
        wanted: The archive.
        mode: The Pillow mode that it must have.
        meaning: That mode in words.

    Raises:
        DataError: Unreadable, or of another mode.
    """
    try:
        with open_image(data, file) as mask:
            found, values = mask.mode, np.asarray(mask)
    except DataError:
        raise
    except Exception as error:  # Pillow raises half a dozen types for corrupt files.
        raise DataError(
            f"{file}: not a readable mask ({type(error).__name__}: {error}). Download "
            f"{wanted.file} again."
        ) from None
    if found != mode:
        raise DataError(
            f"{file}: image mode {found!r}, expected is {meaning} ({mode!r}) as in {wanted.file}."
        )
    return values
