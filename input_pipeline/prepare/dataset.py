"""From two official archives to a dataset; an interrupted preparation is resumed."""

import dataclasses
import os
from collections.abc import Callable, Sequence

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.prepare import locate, records, storage
from input_pipeline.prepare.archives import Archive, Wanted
from input_pipeline.prepare.masks import MaskFolder
from input_pipeline.sources.images import open_image


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user may choose.

    Attributes:
        allow_counts: Whether to take archives with other numbers of images than the official ones.
        num_threads: Number of threads that convert masks.
    """

    allow_counts: bool = False
    num_threads: int = 2


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a dataset is made from two official archives.

    Attributes:
        name: Name of the dataset, and of its folder.
        archives: The archives to look for.
        make: Takes the folder of the dataset, the two archives, the folder of masks that are
            already converted, and the options. It converts the other masks, writes the dataset and
            returns a sentence on its content.
    """

    name: str
    archives: tuple[Wanted, Wanted]
    make: Callable[[str, Archive, Archive, MaskFolder, Options], str]


def prepare(
    recipe: Recipe,
    sources: Sequence[str],
    data_dir: str,
    *,
    options: Options = Options(),
    log: Callable[[str], None] = print,
) -> str:
    """Makes the dataset `<data_dir>/<name>/1.0.0` unless it is complete, or resumes it.

    Args:
        recipe: How the dataset is made.
        sources: Where the archives, or their unpacked folders, are.
        data_dir: Folder of datasets; made if absent.
        options: What a user may choose.
        log: Called with a line of text about what is done.

    Returns:
        The folder of the dataset.

    Raises:
        DataError: An archive that is missing, truncated or not the expected one, or a full disk.
    """
    folder = os.path.join(data_dir, recipe.name)
    final = os.path.join(folder, records.VERSION)
    with storage.held(folder):
        if records.is_complete(final, log):
            return final
        first, second = recipe.archives
        with locate.find(sources, first) as one, locate.find(sources, second) as other:
            origin = f"{one.identity()}\n{other.identity()}\n"
            masks = MaskFolder(os.path.join(folder, "masks.partial"), origin)
            content = recipe.make(final, one, other, masks, options)
        masks.remove()
        log(f"{final}: {content}")
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
            f"{file}: image mode {found!r}, expected {meaning} ({mode!r}) as in {wanted.file}."
        )
    return values
