"""Image files, and their masks, below a root folder."""

import os
from collections.abc import Iterable

import numpy as np

from input_pipeline.sources import images
from input_pipeline.sources.labels import LabelReader, different_sizes
from input_pipeline.sources.orientation import read_header
from input_pipeline.sources.string_table import StringTable


class FolderSource:
    """Image files, and their masks, below a root folder.

    Args:
        root: The folder that the paths are relative to.
        image_paths: The image files.
        label_paths: The mask of each image. None: The images are unlabelled.
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
        self.ids = StringTable.of(image_paths)
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
        """Height and width as stored; only the header is read."""
        return read_header(self.image_path(index))[:2]

    @property
    def columns(self) -> list[StringTable]:
        """The columns of its list: images, and masks if there are any."""
        return [self.ids] if self.label_ids is None else [self.ids, self.label_ids]

    @property
    def labeled(self) -> bool:
        """Whether the images have masks."""
        return self.label_ids is not None

    def read_image(self, index: int) -> np.ndarray:
        """The image without its mask, uint8 [H, W, 3]."""
        return images.read_image(self.image_path(index))

    def label_bytes(self, index: int) -> tuple[bytes, str]:
        """The bytes of a stored mask, and its name in messages."""
        path = self.label_path(index)
        return images.read_bytes(path), path

    def decode_label(self, data: bytes, path: str) -> np.ndarray:
        """Decodes the bytes of a mask to class ids, uint8 [H, W]."""
        return self._reader.decode(data, path)

    def image_path(self, index: int) -> str:
        """The path of an image file."""
        return os.path.join(self._root, self.ids[index])

    def label_path(self, index: int) -> str | None:
        """The path of the mask of an image; None if the source is unlabelled."""
        return os.path.join(self._root, self.label_ids[index]) if self.labeled else None

    def compare_sizes(self, index: int, image_size: tuple, label_size: tuple) -> None:
        """Refuses a mask whose (height, width) differs from that of its image.

        Raises:
            DataError: The sizes differ.
        """
        if tuple(image_size) != tuple(label_size):
            height, width = image_size
            raise different_sizes(
                self.label_path(index),
                label_size,
                f"its image {self.image_path(index)}",
                image_size,
                f"Resize the mask to {width}x{height} with nearest-neighbour interpolation "
                "(others mix ids), or pair the image with its own mask; data.on_error=skip leaves "
                "such images out of training, but not out of validation.",
                where=f", in {self.name}",
            )
