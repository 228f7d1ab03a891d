"""Images and masks of a TFDS dataset, decoded in the same way as files."""

import numpy as np
from tensorflow_datasets.proto import tf_example_pb2

from input_pipeline.errors import DataError, first_line
from input_pipeline.sources import images
from input_pipeline.sources.labels import LabelReader, different_sizes
from input_pipeline.sources.record_dataset import RecordDataset


class RecordSource:
    """Images of a dataset, with or without their masks; decoded here, not by TFDS.

    Args:
        dataset: The dataset.
        places: The places of the images in the dataset, int64 [n].
        image_feature: Name of the image feature.
        label_feature: Name of the mask feature; '' if the images are unlabelled.
        reader: Reads the masks.
        name: The setting that chose the images, for messages.
    """

    def __init__(
        self,
        dataset: RecordDataset,
        places: np.ndarray,
        *,
        image_feature: str,
        label_feature: str = "",
        reader: LabelReader | None = None,
        name: str = "",
    ):
        self.name = name
        self.ids = dataset.ids.take(places)
        self._records = dataset.records  # Each worker process reopens them.
        self._places = places
        self._folder = dataset.folder
        self._features = (image_feature, label_feature)
        self._reader = reader

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        stored = self._read(index)
        image = self._decode_image(index, stored)
        if not self.labeled:
            return {"image": image}
        label = self.decode_label(*self._label_bytes(index, stored))
        self.compare_sizes(index, image.shape[:2], label.shape)
        return {"image": image, "label": label}

    def image_size(self, index: int) -> tuple[int, int]:
        """Height and width; of the record, only the header of the image is decoded."""
        path = self._path(index)
        data = _bytes(self._read(index), self._features[0], path)
        return images.decode_size(data, path)

    @property
    def labeled(self) -> bool:
        """Whether the images have masks."""
        return bool(self._features[1])

    def read_image(self, index: int) -> np.ndarray:
        """The image without its mask, uint8 [H, W, 3]."""
        return self._decode_image(index, self._read(index))

    def label_bytes(self, index: int) -> tuple[bytes, str]:
        """The bytes of a stored mask, and its name in messages."""
        return self._label_bytes(index, self._read(index))

    def decode_label(self, data: bytes, path: str) -> np.ndarray:
        """Decodes the bytes of a mask to class ids, uint8 [H, W]."""
        return self._reader.decode(data, path)

    def compare_sizes(self, index: int, image_size: tuple, label_size: tuple) -> None:
        """Refuses a mask whose (height, width) differs from that of its image.

        Raises:
            DataError: The sizes differ.
        """
        if tuple(image_size) != tuple(label_size):
            raise different_sizes(
                f"{self._path(index)} ({self._features[1]})",
                label_size,
                "its image",
                image_size,
                "Set data.image_feature and data.label_feature to features of the same size, or "
                "build the dataset again.",
            )

    def _path(self, index: int) -> str:
        return f"{self._folder}: {self.ids[index]}"

    def _decode_image(self, index: int, stored) -> np.ndarray:
        path = self._path(index)
        return images.decode_image(_bytes(stored, self._features[0], path), path)

    def _label_bytes(self, index: int, stored) -> tuple[bytes, str]:
        path = f"{self._path(index)} ({self._features[1]})"
        return _bytes(stored, self._features[1], path), path

    def _read(self, index: int):
        place, path = int(self._places[index]), self._path(index)
        try:
            record = self._records[place]
            if not record:  # The reader returns this for a truncated file.
                raise ValueError("it is empty")
            return tf_example_pb2.Example.FromString(record).features.feature
        except Exception as error:  # The reader raises several types for corrupt files.
            raise DataError(
                f"{path}: the record cannot be read ({first_line(error)}). Prepare or copy the "
                "dataset again."
            ) from None


def _bytes(stored, feature: str, path: str) -> bytes:
    values = stored[feature].bytes_list.value if feature in stored else ()
    if len(values) != 1:
        raise DataError(
            f"{path}: the record has {len(values)} files as feature {feature!r}, expected one. "
            "Correct data.image_feature or data.label_feature."
        )
    return values[0]
