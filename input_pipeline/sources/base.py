"""Random-access sources of images, with or without labels."""

import os
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from input_pipeline.sources import images, scenes
from input_pipeline.sources.labels import LabelReader, different_sizes
from input_pipeline.sources.orientation import read_header
from input_pipeline.sources.string_table import StringTable


class Source(Protocol):
    """What grain and the checks ask of a source.

    `source[i]` is {'image': uint8 [H, W, 3]}, with 'label': uint8 [H, W] where labelled.
    `image_size(i)` is its height and width, without decoding the pixels. `ids` names every
    entry; equal names are the same image. `name` is the setting and its value, for messages.
    """

    ids: StringTable
    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, np.ndarray]: ...

    def image_size(self, index: int) -> tuple[int, int]: ...


class FolderSource:
    """Image files, and their masks, below a root folder.

    Args:
        root: What the paths are relative to.
        image_paths: An image file each.
        label_paths: The mask of each image; None = unlabelled.
        reader: Reads the masks.
        name: The setting that lists the files, for messages.
    """

    def __init__(
        self,
        root: str,
        image_paths: Iterable[str],
        label_paths: Iterable[str] | None = None,
        *,
        reader: LabelReader | None = None,
        name: str = "",
    ):
        self.name = name
        self.ids = StringTable(image_paths)
        self.label_ids = None if label_paths is None else StringTable(label_paths)
        self._root = root
        self._reader = reader

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        image = self.read_image(index)
        if not self.labeled:
            return {"image": image}
        label = self.decode_label(*self.label_bytes(index))
        self.compare_sizes(index, image.shape[:2], label.shape)
        return {"image": image, "label": label}

    def image_size(self, index: int) -> tuple[int, int]:
        """Height and width as stored; reads the header alone."""
        return read_header(self.image_path(index))[:2]

    @property
    def labeled(self) -> bool:
        """Whether the images have masks."""
        return self.label_ids is not None

    def read_image(self, index: int) -> np.ndarray:
        """An image alone, uint8 [H, W, 3]."""
        return images.read_image(self.image_path(index))

    def label_bytes(self, index: int) -> tuple[bytes, str]:
        """The stored mask of a labelled image, and what messages call it."""
        path = self.label_path(index)
        return images.read_bytes(path), path

    def decode_label(self, data: bytes, path: str) -> np.ndarray:
        """The ids of a stored mask, uint8 [H, W]."""
        return self._reader.decode(data, path)

    def image_path(self, index: int) -> str:
        """The file of an image."""
        return os.path.join(self._root, self.ids[index])

    def label_path(self, index: int) -> str | None:
        """The file of its mask, None where unlabelled."""
        return os.path.join(self._root, self.label_ids[index]) if self.labeled else None

    def compare_sizes(self, index: int, image_size: tuple, label_size: tuple) -> None:
        """Raises a DataError unless (height, width) of an image and its mask are the same."""
        if tuple(image_size) != tuple(label_size):
            height, width = image_size
            raise different_sizes(
                self.label_path(index),
                label_size,
                f"its image {self.image_path(index)}",
                image_size,
                f"Resize the mask to {width}x{height} with nearest neighbour (anything else mixes "
                "ids), or pair the image with its own mask; data.on_error=skip leaves such images "
                "out of the training, but not out of the validation.",
                where=f", in {self.name}",
            )


class SceneSource:
    """Drawn scenes; scene i is a pure function of its number.

    Args:
        start, stop: The range of scene numbers, stop excluded.
        labeled: Whether the masks are given out too.
        name: The setting that holds the range, for messages.
    """

    def __init__(self, start: int, stop: int, *, labeled: bool, name: str = ""):
        self.name = name
        self.ids = StringTable(str(number) for number in range(start, stop))
        self._start = start
        self._labeled = labeled

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} in a source of {len(self)} scenes")
        image, label = scenes.draw_scene(self._start + int(index))
        return {"image": image, "label": label} if self._labeled else {"image": image}

    def image_size(self, index: int) -> tuple[int, int]:
        """Height and width, the same for every scene."""
        return scenes.SIZE, scenes.SIZE
