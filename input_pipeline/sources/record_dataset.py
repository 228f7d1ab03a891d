"""A TFDS dataset in ArrayRecord, read by random access and without TensorFlow."""

import functools
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source

from input_pipeline.errors import DataError, first_line
from input_pipeline.sources import images
from input_pipeline.sources.string_table import StringIndex, StringTable

_INFO = "dataset_info.json"
# Slices in TFDS's notation: 'train', 'train[:100]', 'train[:10%]+test'.
_SLICE = re.compile(r"\s*(\w+)(\[[^\]]*\])?\s*(\+\s*\w+(\[[^\]]*\])?\s*)*")


class RecordDataset:
    """The splits, image names and records of a dataset on disk.

    Records are numbered through all splits: place i belongs to the split whose range in `splits`
    contains i.

    Attributes:
        folder: The folder of `dataset_info.json`.
        splits: The range of places of each split.
        ids: The name of every image: its key if files `keys-SPLIT.txt` lie beside the data,
            else 'SPLIT:NUMBER'.
        has_keys: Whether there are such files.
        kinds: 'fine' or 'coarse' for every image; None without such files.

    Args:
        root: The folder of the dataset, or its parent if that contains a single version.
        field: The setting that named it, for messages.

    Raises:
        DataError: There is no such dataset, it has another format, or its files are inconsistent.
    """

    def __init__(self, root: str, *, field: str = "data.root"):
        self.folder = _find_folder(os.path.abspath(os.path.expanduser(root)), field)
        try:
            self._info = tfds.builder_from_directory(self.folder).info
        except Exception as error:  # TFDS passes on whatever its parsers raise.
            raise DataError(
                f"{self.folder}: not a dataset that TFDS can open ({type(error).__name__}: "
                f"{first_line(error)}). Prepare or copy it again."
            ) from None
        file_format = getattr(self._info.file_format, "value", "of an unknown format")
        if file_format != "array_record":
            raise DataError(
                f"{self.folder}: its files have the format {file_format}, which does not allow "
                "random access. Build the dataset with file_format='array_record'."
            )
        parts, lengths = [], {}
        for split, info in self._info.splits.items():
            parts += info.file_instructions if info.num_examples else ()
            lengths[split] = info.num_examples
        _check_files(parts, self.folder)
        self.records = array_record_data_source.ArrayRecordDataSource(parts)
        ends = np.cumsum([0, *lengths.values()]).tolist()
        self.splits = {
            split: range(start, end)
            for split, start, end in zip(lengths, ends[:-1], ends[1:], strict=True)
        }
        self._read_names()

    def read_keys(self, split: str) -> tuple[StringTable, ...] | None:
        """Reads the keys of a split.

        Returns:
            The keys of the images, the names of their masks and the kinds of the masks; None if
            the dataset has no file of keys.

        Raises:
            DataError: The file of keys is unreadable, malformed or does not fit the split.
        """
        path = os.path.join(self.folder, f"keys-{split}.txt")
        if not os.path.exists(path):
            return None
        text = images.read_bytes(path)
        if b"\r" in text:  # The search is quick, the copy is not.
            text = text.replace(b"\r\n", b"\n")
        columns = StringTable.columns(text, 3)
        if columns is None or len(columns[0]) != len(self.splits.get(split, ())):
            raise DataError(
                f"{path}: expected a line `image label kind`, separated by tabs, for each of the "
                f"{len(self.splits.get(split, ()))} records of split {split!r}, found "
                f"{len(text.splitlines())} lines. Prepare the dataset again."
            )
        return columns

    def is_slice(self, text: str) -> bool:
        """Whether a setting is a slice of a split, and not the name of a list file."""
        match = _SLICE.fullmatch(text)
        return bool(match) and match[1] in self.splits

    def places(self, text: str, *, field: str) -> np.ndarray:
        """The places of a slice such as 'train' or 'train[:100]', int64 [n].

        Raises:
            DataError: The dataset has no such split, or TFDS does not understand the slice.
        """
        chosen, faults = [], []
        for part in text.split("+"):
            try:
                spec = tfds.core.ReadInstruction.from_spec(part.strip())
                ranges = spec.to_absolute(self._info.splits)
            except Exception as error:  # TFDS raises several types, with messages of many lines.
                faults.append(f"{part.strip()} ({first_line(error)})")
                continue
            for each in ranges:
                places = self.splits[each.splitname]
                chosen.append(np.arange(len(places))[each.from_ : each.to] + places.start)
        if faults:
            raise DataError(
                f"{field} = {text!r}: not a slice of {self.folder}: {'; '.join(faults)}. Its "
                f"splits are {self._described()}; write a slice as in 'train[:100]' or "
                "'train[10%:]'."
            )
        return np.concatenate(chosen)

    def find(self, names: Sequence[str]) -> np.ndarray:
        """The place of each image, int64 [len(names)]; -1 if the dataset has no such image."""
        return self._index.find(names)

    @functools.cached_property
    def _index(self) -> StringIndex:
        return StringIndex(self.ids)

    def described(self) -> str:
        """The folder and the splits, for messages."""
        return f"{self.folder} ({self._described()})"

    def check_feature(self, name: str, *, field: str) -> None:
        """Refuses a feature that does not exist or is not an image.

        Raises:
            DataError: The message lists the features that the dataset has.
        """
        feature = self._info.features
        for part in name.split("/"):
            nested = isinstance(feature, tfds.features.FeaturesDict) and part in feature
            feature = feature[part] if nested else None
        if not isinstance(feature, tfds.features.Image):
            known = ", ".join(
                f"{key!r} ({type(value).__name__})" for key, value in self._info.features.items()
            )
            raise DataError(
                f"{field} = {name!r}: {self.folder} has no image feature of that name. Its "
                f"features are {known}; images and masks must be of type Image."
            )

    def _described(self) -> str:
        return ", ".join(f"{name}: {len(places)}" for name, places in self.splits.items())

    def _read_names(self) -> None:
        of_splits = [self.read_keys(split) for split in self.splits]
        self.has_keys = all(columns is not None for columns in of_splits)
        if self.has_keys:
            keys, _, kinds = zip(*of_splits, strict=True)
            self.ids, self.kinds = StringTable.joined(keys), StringTable.joined(kinds)
        else:
            self.ids = StringTable(
                f"{split}:{number}"
                for split, places in self.splits.items()
                for number in range(len(places))
            )
            self.kinds = None


def _find_folder(root: str, field: str) -> str:
    if os.path.isfile(os.path.join(root, _INFO)):
        return root
    if not os.path.isdir(root):
        raise DataError(
            f"{field}: no folder {root}. Prepare the dataset (python -m input_pipeline.prepare), "
            f"or set {field} to its folder."
        )
    versions = sorted(pathlib.Path(root).glob(f"*/{_INFO}"))
    # A folder that is still being written is not a version.
    versions = [path.parent for path in versions if path.parent.suffix != ".partial"]
    if len(versions) == 1:
        return str(versions[0])
    found = ", ".join(version.name for version in versions) or "none"
    raise DataError(
        f"{field} = {root}: neither {_INFO} nor exactly one version there (found: {found}). Set "
        f"{field} to the folder of a TFDS dataset; `python -m input_pipeline.prepare` makes one."
    )


def _check_files(parts, folder: str) -> None:
    if not parts:
        raise DataError(f"{folder}: the dataset has no records. Prepare it again.")
    for part in parts:
        if not os.path.isfile(part.filename) or os.path.getsize(part.filename) == 0:
            raise DataError(
                f"{part.filename}: no such file, or an empty one; according to {_INFO} it has "
                f"{part.examples_in_shard} records. Prepare or copy the dataset again."
            )
