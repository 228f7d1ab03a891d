"""Pseudo masks: what a network predicted for the unlabelled images, as PNG files in a folder.

`--mode=label` makes the folder. It holds `labels/NAME.png` for each image and, where the images
were ranked, `ranking.csv` with the most reliable image first.
"""

import csv
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.partitions.lists import IMAGE_SUFFIXES
from input_pipeline.sources.base import Source
from input_pipeline.sources.labels import LabelReader, different_sizes
from input_pipeline.sources.string_table import StringIndex, StringTable

LABELS, RANKING = "labels", "ranking.csv"
# The images that a training stage uses.
PARTS = ("all", "reliable", "unreliable")
_FIELD = "data.pseudo"


def mask_name(image: str) -> str:
    """The path of an image's mask below the folder `labels`.

    >>> mask_name("../images/a/b.jpg"), mask_name("2007.000032")
    ('images/a/b.png', '2007.000032.png')
    """
    stem, suffix = os.path.splitext(image)
    name = stem if suffix.lower() in IMAGE_SUFFIXES else image
    parts = [part for part in pathlib.PurePosixPath(name).parts if part not in ("/", "..")]
    return "/".join(parts) + ".png"


def mask_names(images: Source) -> StringTable:
    """The `mask_name` of every image.

    Raises:
        DataError: Two images have the same one.
    """
    names = StringTable(map(mask_name, images.ids))
    twice = StringIndex(names).repeated()
    if twice is not None:
        both = [image for image in images.ids if mask_name(image) == twice]
        raise DataError(
            f"{images.name}: {' and '.join(both[:2])} would have one pseudo mask, {twice}. Rename "
            "one of them."
        )
    return names


def half(ranking: Sequence[str], part: str) -> list[str]:
    """The reliable half of N ranked images, the first floor(N / 2), or the other ones."""
    middle = len(ranking) // 2
    return list(ranking[:middle] if part == "reliable" else ranking[middle:])


def read_ranking(folder: str | os.PathLike) -> list[str] | None:
    """The ranked images, the most reliable one first; None if the folder has no ranking.

    Raises:
        DataError: The ranking cannot be read.
    """
    path = pathlib.Path(folder) / RANKING
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            return [row["image"] for row in csv.DictReader(file)]
    except FileNotFoundError:
        return None
    except (OSError, KeyError, csv.Error) as error:
        raise DataError(
            f"{path}: not a ranking of images ({error}). Delete it; --mode=label makes it anew."
        ) from None


def places_of(images: Source, folder: str | os.PathLike, part: str) -> np.ndarray:
    """The indices of the images of a part, int64 [n].

    Args:
        images: The unlabelled images.
        folder: The folder of the masks.
        part: One of `PARTS`.

    Raises:
        DataError: There is no ranking, or one of other images.
    """
    if part == "all":
        return np.arange(len(images))
    ranking = read_ranking(folder)
    if ranking is None:
        raise DataError(
            f"{folder} has no {RANKING}, so it is not known which images are {part}; "
            "--mode=label --part=reliable makes it."
        )
    places = StringIndex(images.ids).find(ranking)
    if len(ranking) != len(images) or (places < 0).any():
        raise DataError(
            f"{folder}/{RANKING} ranks {len(ranking)} images, which are not the {len(images)} of "
            f"{images.name}. Restore these images, or label them into a new folder."
        )
    return StringIndex(images.ids).find(half(ranking, part))


class PseudoSource:
    """Unlabelled images with their pseudo masks.

    Args:
        images: The unlabelled images.
        places: The indices of those to use.
        folder: The folder of the masks.
        num_classes: K.
    """

    def __init__(self, images: Source, places: np.ndarray, folder: str, num_classes: int):
        self.name = f"{_FIELD} ({folder})"
        self.ids = images.ids.take(places)
        self._images = images
        self._places = places
        self._folder = pathlib.Path(folder) / LABELS
        self._reader = LabelReader(num_classes)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        image = self._images[int(self._places[index])]["image"]
        return {"image": image, "label": self.read_mask(index, image.shape[:2])}

    def read_mask(self, index: int, size: tuple[int, int] | None) -> np.ndarray:
        """Reads a mask.

        Args:
            index: Its place in this source.
            size: Height and width that it must have; None if any will do.

        Returns:
            uint8 [H, W]: ids below K, or 255.

        Raises:
            DataError: The mask is unreadable, of another size, or has another id.
        """
        path = self.mask_path(index)
        try:
            label = self._reader.read(str(path))
            if size is not None and label.shape != tuple(size):
                raise different_sizes(
                    str(path), label.shape, self.ids[index], size, "They must be equal."
                )
        except DataError as error:
            raise DataError(
                f"{error} It is a pseudo mask: delete the file, and the command that made it "
                "(--mode=label or the sweep) makes it anew."
            ) from None
        return label

    def image_size(self, index: int) -> tuple[int, int]:
        """Height and width of an image."""
        return self._images.image_size(int(self._places[index]))

    def mask_path(self, index: int) -> pathlib.Path:
        """The file of a mask."""
        return self._folder / mask_name(self.ids[index])


def open_pseudo(folder: str, images: Source, part: str, num_classes: int) -> PseudoSource:
    """`open_unchecked`; also raises a DataError if a mask is missing."""
    source = open_unchecked(folder, images, part, num_classes)
    known = _files(pathlib.Path(folder) / LABELS)
    missing = [image for image in source.ids if mask_name(image) not in known]
    if missing:
        raise DataError(
            f"{source.name}: {len(missing)} of {len(source)} images have no mask, such as "
            f"{missing[0]}. Run the earlier stage again (--mode=label, or the sweep): it adds the "
            "missing masks."
        )
    return source


def open_unchecked(folder: str, images: Source, part: str, num_classes: int) -> PseudoSource:
    """Opens the masks of a part of the unlabelled images, without looking at the files.

    Args:
        folder: The folder of the masks.
        images: The unlabelled images.
        part: One of `PARTS`.
        num_classes: K.

    Raises:
        DataError: The folder or the ranking is missing, or the part is empty.
    """
    if not os.path.isdir(folder):
        raise DataError(
            f"{_FIELD} = {folder!r}: there is no such folder. An earlier stage makes it: "
            "--mode=label, or a list of stages with --mode=sweep."
        )
    mask_names(images)
    source = PseudoSource(images, places_of(images, folder, part), folder, num_classes)
    if not len(source):
        raise DataError(
            f"{source.name}: no {part} image among {len(images)} unlabelled ones ({images.name}). "
            "Add unlabelled images."
        )
    return source


def _files(folder: pathlib.Path) -> set[str]:
    """The paths of the files below a folder, relative to it."""
    return {
        (pathlib.Path(where) / name).relative_to(folder).as_posix()
        for where, _, names in os.walk(folder)
        for name in names
    }


class WithPseudo:
    """Labelled images, listed as often as there are pseudo-labelled ones, and these.

    A shuffle of it yields about as many labelled as pseudo-labelled images. An element has the
    entry 'pseudo', whether its mask is a pseudo mask.

    Args:
        labeled: The labelled images.
        pseudo: The pseudo-labelled images.
    """

    def __init__(self, labeled: Source, pseudo: Source):
        times = -(-len(pseudo) // len(labeled))
        self.name = f"{labeled.name} and {pseudo.name}"
        self.ids = StringTable([*list(labeled.ids) * times, *pseudo.ids])
        self._labeled, self._pseudo = labeled, pseudo
        self._repeated = len(labeled) * times

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict:
        index = int(index)
        if index < self._repeated:
            return {**self._labeled[index % len(self._labeled)], "pseudo": False}
        return {**self._pseudo[index - self._repeated], "pseudo": True}

    def image_size(self, index: int) -> tuple[int, int]:
        """Height and width of an image."""
        if index < self._repeated:
            return self._labeled.image_size(index % len(self._labeled))
        return self._pseudo.image_size(index - self._repeated)
