"""Writes images and masks as a TFDS dataset in ArrayRecord, in one pass."""

import dataclasses
import io
import os
import shutil
from collections.abc import Callable, Mapping, Sequence

import PIL.Image
import tensorflow_datasets as tfds
import tqdm
from array_record.python import array_record_data_source

from input_pipeline.errors import DataError
from input_pipeline.prepare.masks import MaskFolder
from input_pipeline.prepare.storage import full_disk_named, publish

VERSION = "1.0.0"
# Examples per call of the writer, which records the counts at each call, and per file.
_BATCH, _PER_FILE = 16, 1000


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image and its mask.

    Attributes:
        key: The image in a list: its path in the usual folders.
        label: The mask in a list.
        mask: Name of the mask in the work folder.
        kind: 'fine' or 'coarse': how carefully the mask was drawn.
    """

    key: str
    label: str
    mask: str
    kind: str = "fine"


def keys_file(folder: str, split: str) -> str:
    """The file with a line `key label kind` for each record of a split, in the same order."""
    return os.path.join(folder, f"keys-{split}.txt")


def is_complete(folder: str, log: Callable[[str], None]) -> bool:
    """Whether the dataset has been written; if so, reports it."""
    if not os.path.isdir(folder):
        return False
    log(f"{folder}: complete, nothing to do. Remove the folder to prepare it again.")
    return True


def write_dataset(
    folder: str,
    *,
    name: str,
    description: str,
    encoding: str,
    splits: Mapping[str, Sequence[Entry]],
    read_image: Callable[[Entry], bytes],
    masks: MaskFolder,
) -> None:
    """Writes a dataset for `tfds.builder_from_directory` without holding it in memory.

    TFDS's usual way to build a dataset keeps a split in memory if it is not shuffled. So this uses
    TFDS's writer for one example after another. Images keep their bytes. The folder appears when
    everything is in it.

    Args:
        folder: The dataset, ending in its version.
        name: Name of the dataset.
        description: Description of the dataset.
        encoding: Format of the images, 'jpeg' or 'png'.
        splits: The examples of each split, in the order of the records.
        read_image: Gives the file of an image.
        masks: The converted masks.

    Raises:
        DataError: An image and a mask of different sizes, or a full disk.
    """
    partial = f"{folder}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with full_disk_named(os.path.dirname(folder)):
            os.makedirs(partial)
            writer = _writer(partial, name, description, encoding)
            writer.initialize_splits(list(splits))
            total = sum(map(len, splits.values()))
            with tqdm.tqdm(total=total, desc="records", unit="image", disable=None) as bar:
                for split, entries in splits.items():
                    _write_split(writer, split, entries, read_image, masks, bar)
                    _write_keys(keys_file(partial, split), entries)
            writer.close_all()
            _check_counts(partial, splits)
            publish(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _writer(folder: str, name: str, description: str, encoding: str) -> tfds.core.SequentialWriter:
    image = tfds.features.Image(encoding_format=encoding)
    features = {
        "image": image,
        "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
        "key": tfds.features.Text(),
        "kind": tfds.features.Text(),
    }
    identity = tfds.core.DatasetIdentity(
        name=name, version=tfds.core.Version(VERSION), data_dir=folder, module_name=__name__
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=description,
        features=tfds.features.FeaturesDict(features),
        disable_shuffling=True,
    )
    return tfds.core.SequentialWriter(
        info, max_examples_per_shard=_PER_FILE, file_format="array_record"
    )


def _write_split(writer, split: str, entries, read_image, masks: MaskFolder, bar) -> None:
    for start in range(0, len(entries), _BATCH):
        examples = []
        for entry in entries[start : start + _BATCH]:
            with open(masks.file(entry.mask), "rb") as file:
                label = file.read()
            image = read_image(entry)
            _compare_sizes(entry, image, label)
            examples.append({"image": image, "label": label, "key": entry.key, "kind": entry.kind})
        writer.add_examples({split: examples})
        bar.update(len(examples))


def _compare_sizes(entry: Entry, image: bytes, label: bytes) -> None:
    try:
        with PIL.Image.open(io.BytesIO(image)) as header:
            size = header.size
    except Exception as error:  # Pillow raises half a dozen types for corrupt files.
        raise DataError(
            f"{entry.key}: not a readable image ({type(error).__name__}: {error}). The archive "
            "is corrupt: download it again."
        ) from None
    with PIL.Image.open(io.BytesIO(label)) as header:
        if header.size != size:
            raise DataError(
                f"{entry.key}: the image is {size[0]}x{size[1]}, its mask {entry.mask} is "
                f"{header.size[0]}x{header.size[1]} (width x height). Image and mask come from "
                "different editions: take both archives from the official source."
            )


def _write_keys(path: str, entries: Sequence[Entry]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{entry.key}\t{entry.label}\t{entry.kind}\n" for entry in entries)


def _check_counts(folder: str, splits: Mapping[str, Sequence[Entry]]) -> None:
    """Opens every file again: a truncated one has no records."""
    info = tfds.builder_from_directory(folder).info
    for split, entries in splits.items():
        files = [part.filename for part in info.splits[split].file_instructions]
        found = len(array_record_data_source.ArrayRecordDataSource(files))
        if found != len(entries):
            raise DataError(
                f"{folder}: {found} records of {split} were written, {len(entries)} expected. "
                "Run the command again."
            )
