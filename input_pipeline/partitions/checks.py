"""Checks of the data before the first step, so that bad data stop a run at once."""

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

# Of a longer list, only a sample of files is checked for existence.
CHECK_ALL_BELOW = 20_000


def check_partition(partition: Partition, *, sample: int = 200, max_bad: int | None = None) -> None:
    """Checks lists, files and a sample of masks.

    The labelled, unlabelled and validation images must be disjoint and free of duplicates. The
    labelled and validation files must exist (of 20,000 or more, a sample), and so must a sample of
    the unlabelled ones. Sampled
    images must be readable; sampled masks must have allowed ids and the size of their image.

    Args:
        partition: From `open_partition`.
        sample: How many masks to decode with their images, and how many unlabelled images.
        max_bad: How many sampled training files may be unusable. None: none may. Missing files and
            unusable validation images are always errors; scores over fewer images would not be
            comparable.

    Raises:
        DataError: The first fault: the list, the entry and what to do.
    """
    names, num_classes = partition.class_names, partition.num_classes
    if len(names) != num_classes:
        raise DataError(
            f"data.class_names has {len(names)} names, data.num_classes = {num_classes}. "
            "Name every class once, in id order and separated by commas, or leave the names empty."
        )
    for source in (partition.labeled, partition.val):
        if len(source) == 0:
            raise DataError(
                f"{source.name}: no image. A run needs at least one labelled image for training "
                "and one for validation. Add images, or correct the setting."
            )
    _, fault = next(partition.faults_of_names(), (None, None))
    if fault is not None:
        raise DataError(fault)
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
            # The unlabelled images, the longest list, come last: only their index is searched.
            found = np.flatnonzero(index.find(other.ids) >= 0)
            if found.size:
                raise DataError(
                    f"{other.ids[int(found[0])]} is in {other.name} and in {source.name}. The "
                    "labelled, unlabelled and validation images must be disjoint: remove it from "
                    "one of the two."
                )
        seen.append(source)


def check_files(source: FolderSource, sample: int = 200, *, may_be_empty: bool = False) -> None:
    """Refuses missing and empty files; checks only a sample of long or unlabelled lists.

    Args:
        source: The files.
        sample: Number of entries in a sample.
        may_be_empty: Whether to accept empty files.

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
                    "to data.root: correct data.root or the list (if a path contains a blank, "
                    f"separate the columns by a tab).{near_names.hint(path)}"
                )
            if os.path.getsize(path) == 0 and not may_be_empty:
                raise DataError(
                    f"{path}: the file is empty (0 bytes), named in {source.name}. Copy it again, "
                    "or remove it from the list."
                )


def _check_examples(partition: Partition, sample: int, max_bad: int | None) -> None:
    val_share = min(len(partition.val), sample // 2)
    labeled_share = min(len(partition.labeled), sample - val_share)
    val_share = min(len(partition.val), sample - labeled_share)
    shares = (
        (partition.labeled, labeled_share),
        (partition.val, val_share),
        (partition.unlabeled, sample),
        (partition.pseudo or (), sample),
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
                    raise DataError(
                        f"{ids} That makes {bad} unusable files among those that were checked, "
                        f"more than data.max_bad = {max_bad} allows."
                    )
            elif ids is not None and source is not partition.pseudo:
                used |= ids
                checked += 1
    if checked:
        check_use_of_ids(used, checked, partition.labeled.name)


def _ids_of(example: tuple[Source, int]) -> np.ndarray | DataError | None:
    """Decodes an example.

    Returns:
        Which ids its mask has, bool [256]; None if it has no mask; the error if it is unusable.
    """
    source, index = example
    try:
        label = source[index].get("label")
    except DataError as error:
        return error
    return None if label is None else np.bincount(label.ravel(), minlength=256) > 0


def check_use_of_ids(used: np.ndarray, checked: int, name: str) -> None:
    """Refuses masks that teach nothing because they have only the ids 255, or 0 and 255.

    Args:
        used: Which ids the masks have, bool [256].
        checked: Number of masks.
        name: The setting that lists the masks.

    Raises:
        DataError: The masks teach nothing; with the setting that may help.
    """
    used_ids = np.flatnonzero(used).tolist()
    if used_ids == [IGNORE]:
        raise DataError(
            f"{name}: the {checked} masks that were checked have only the id "
            f"{IGNORE} (ignored). Correct the masks, data.label_map or data.colormap."
        )
    if used_ids == [0, IGNORE]:
        raise DataError(
            f"{name}: the {checked} masks that were checked have only the ids 0 and "
            f"{IGNORE}, and {IGNORE} means ignored. If they are binary masks of 0 and 255, set "
            "data.label_map='0:0,255:1'."
        )


def _spread(length: int, count: int) -> Iterable[int]:
    """At most `count` indices, spread evenly over 0 .. length - 1."""
    if count >= length:
        return range(length)
    return (int(index) for index in np.linspace(0, length - 1, count).astype(int))
