"""Images and masks of a TFDS dataset, decoded as those of files are."""

import numpy as np
from tensorflow_datasets.proto import tf_example_pb2

from input_pipeline import images
from input_pipeline.errors import DataError
from input_pipeline.labels import LabelReader
from input_pipeline.record_dataset import RecordDataset, first_line
from input_pipeline.string_table import StringTable


class RecordSource:
    """Images of a dataset, with or without their masks; decoded here, not by TFDS.

    Args:
        dataset: where the records are.
        places: the places of the images in it, int64 [n].
        image_feature: name of the image feature.
        label_feature: name of the mask feature; '' = unlabelled.
        reader: reads the masks.
        name: the setting that chose the images, for messages.
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
        self.ids = StringTable(dataset.ids[int(place)] for place in places)
        self._records = dataset.records  # Opened anew in each worker process.
        self._places = places
        self._folder = dataset.folder
        self._features = (image_feature, label_feature)
        self._reader = reader

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        path = f"{self._folder}: {self.ids[index]}"
        stored = self._read(int(self._places[index]), path)
        image_feature, label_feature = self._features
        image = images.decode_image(_bytes(stored, image_feature, path), path)
        if not label_feature:
            return {"image": image}
        path = f"{path} ({label_feature})"
        label = self._reader.decode(_bytes(stored, label_feature, path), path)
        if image.shape[:2] != label.shape:
            (height, width), (label_height, label_width) = image.shape[:2], label.shape
            raise DataError(
                f"{path}: the mask is {label_width}x{label_height}, its image {width}x{height} "
                f"(width x height). Set data.image_feature and data.label_feature to features of "
                "the same size, or build the dataset again."
            )
        return {"image": image, "label": label}

    def _read(self, place: int, path: str):
        try:
            record = self._records[place]
            if not record:  # What the reader makes of a file that was cut off.
                raise ValueError("it is empty")
            return tf_example_pb2.Example.FromString(record).features.feature
        except Exception as error:  # The reader raises several types for damaged files.
            raise DataError(
                f"{path}: the record cannot be read ({first_line(error)}). Prepare or copy the "
                "dataset again."
            ) from None


def _bytes(stored, feature: str, path: str) -> bytes:
    values = stored[feature].bytes_list.value if feature in stored else ()
    if len(values) != 1:
        raise DataError(
            f"{path}: the record holds {len(values)} files as feature {feature!r}, expected is "
            "one. Correct data.image_feature or data.label_feature."
        )
    return values[0]
