"""What is looked at before the first step, so that bad data stop a run at once."""

import concurrent.futures
import os
from collections.abc import Iterable

import numpy as np

from input_pipeline import near_names
from input_pipeline.errors import DataError
from input_pipeline.partitions.partition import Partition
from input_pipeline.sources.base import Source
from input_pipeline.sources.folder import FolderSource
from input_pipeline.sources.labels import IGNORE
from input_pipeline.sources.scenes import SceneSource
from input_pipeline.sources.string_table import StringIndex

# Up to this many files the existence of every one is checked, beyond it that of the sample.
CHECK_ALL_BELOW = 20_000


def check_partition(partition: Partition, *, sample: int = 200, max_bad: int | None = None) -> None:
    """Checks lists, files and a sample of masks.

    The labelled, unlabelled and validation images must be disjoint and free of duplicates, the
    files of the labelled and validation lists must exist, as must a sample of the unlabelled
    ones; sampled images must be readable, sampled masks must hold allowed ids and have the size
    of their image.

    Args:
        partition: What `open_partition` gave.
        sample: Number of masks to decode with their images, and of unlabelled images.
        max_bad: None = every fault is an error; a number = so many files for training may be
            unusable. Files that are not there, and validation images, stay errors: a score over
            fewer images would compare with nothing.

    Raises:
        DataError: The first fault found: the list, the entry and what to do.
    """
    names, num_classes = partition.class_names, partition.num_classes
    if len(names) != num_classes:
        raise DataError(
            f"data.class_names has {len(names)} names, data.num_classes = {num_classes}. "
            "Name every class once, in id order and with commas between, or leave the names empty."
        )
    for source in (partition.labeled, partition.val):
        if len(source) == 0:
            raise DataError(f"{source.name}: no image. Training needs at least one labelled one.")
    _check_disjoint(partition)
    for source in (partition.labeled, partition.val, partition.unlabeled):
        if isinstance(source, FolderSource):
            check_files(source, sample, may_be_empty=max_bad is not None)
    _check_examples(partition, sample, max_bad)


def _check_disjoint(partition: Partition) -> None:
    seen: list[Source] = []
    for source in (partition.labeled, partition.val, partition.unlabeled):
        index = StringIndex(source.ids)
        image = index.repeated()
        if image is not None:
            raise DataError(f"{source.name}: {image} is listed twice. Remove one of the two lines.")
        for other in seen:
            # The long list is the one that is searched.
            found = np.flatnonzero(index.find(other.ids) >= 0)
            if found.size:
                raise DataError(
                    f"{other.ids[int(found[0])]} is in {other.name} and in {source.name}. The "
                    "labelled, unlabelled and validation images must be disjoint: remove it from "
                    "one."
                )
        seen.append(source)


def check_files(source: FolderSource, sample: int = 200, *, may_be_empty: bool = False) -> None:
    """Refuses files that are not there, or empty; of many unlabelled ones looks at a sample.

    Raises:
        DataError: The first such file, and what to do.
    """
    labeled = len(source) > 0 and source.label_path(0) is not None
    check_all = labeled and len(source) < CHECK_ALL_BELOW
    for index in range(len(source)) if check_all else _spread(len(source), sample):
        for path in filter(None, (source.image_path(index), source.label_path(index))):
            if not os.path.isfile(path):
                raise DataError(
                    f"{path}: no such file, named in {source.name}. Paths in a list are relative "
                    "to data.root: correct data.root or the list (a blank in a path needs "
                    f"columns separated by a tab).{near_names.hint(path)}"
                )
            if os.path.getsize(path) == 0 and not may_be_empty:
                raise DataError(
                    f"{path}: the file is empty (0 bytes), named in {source.name}. Copy it again, "
                    "or take it off the list."
                )


def _check_examples(partition: Partition, sample: int, max_bad: int | None) -> None:
    val_share = min(len(partition.val), sample // 2)
    labeled_share = min(len(partition.labeled), sample - val_share)
    val_share = min(len(partition.val), sample - labeled_share)
    shares = (
        (partition.labeled, labeled_share),
        (partition.val, val_share),
        (partition.unlabeled, sample),
    )
    examples = [
        (source, index)
        for source, share in shares
        if not isinstance(source, SceneSource)
        for index in _spread(len(source), share)
    ]
    used, checked, bad = np.zeros(256, bool), 0, 0
    with concurrent.futures.ThreadPoolExecutor(8, "check") as executor:
        for (source, _), ids in zip(examples, executor.map(_ids_of, examples), strict=True):
            if isinstance(ids, DataError):
                bad += 1
                if max_bad is None or source is partition.val:
                    raise ids
                if bad > max_bad:
                    raise DataError(f"{ids} It is one of {bad}; data.max_bad = {max_bad}.")
            elif ids is not None:
                used |= ids
                checked += 1
    if checked:
        check_use_of_ids(used, checked, partition.labeled.name)


def _ids_of(example: tuple[Source, int]) -> np.ndarray | DataError | None:
    """Decodes an example; which ids its mask holds, bool [256], None without a mask, or why not."""
    source, index = example
    try:
        label = source[index].get("label")
    except DataError as error:
        return error
    return None if label is None else np.bincount(label.ravel(), minlength=256) > 0


def check_use_of_ids(used: np.ndarray, checked: int, name: str) -> None:
    """Refuses masks that teach nothing: 255 alone, or 0 and 255.

    Args:
        used: Which ids the masks hold, bool [256].
        checked: Number of masks.
        name: The setting that lists them.

    Raises:
        DataError: With the setting that would read them.
    """
    used_ids = np.flatnonzero(used).tolist()
    if used_ids == [IGNORE]:
        raise DataError(
            f"{name}: all {checked} masks that were checked hold nothing but "
            f"{IGNORE} (ignored). Correct the masks, data.label_map or data.colormap."
        )
    if used_ids == [0, IGNORE]:
        raise DataError(
            f"{name}: the {checked} masks that were checked hold only 0 and "
            f"{IGNORE}, and {IGNORE} means ignored. If they are binary masks of 0 and 255, set "
            "data.label_map='0:0,255:1'."
        )


def _spread(length: int, count: int) -> Iterable[int]:
    """Up to count indices, spread evenly over 0..length - 1."""
    if count >= length:
        return range(length)
    return (int(index) for index in np.linspace(0, length - 1, count).astype(int))
