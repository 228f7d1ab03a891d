"""Reads every image and mask of a partition, counts their content and collects all faults."""

import collections
import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Collection, Sequence

import numpy as np

from input_pipeline import findings
from input_pipeline.batches.evaluation import decode_ahead
from input_pipeline.errors import DataError
from input_pipeline.findings import PARTS, Inspection, Part
from input_pipeline.inspection import copies
from input_pipeline.partitions import checks
from input_pipeline.partitions.partition import Partition
from input_pipeline.sources import labels
from input_pipeline.sources.base import Source
from input_pipeline.sources.folder import FolderSource


def inspect_partition(
    partition: Partition,
    *,
    as_colors: bool,
    num_threads: int,
    required: Collection[str] = PARTS,
    progress: Callable[[], object] = lambda: None,
    found: Inspection | None = None,
) -> Inspection:
    """Reads all images and masks.

    Decoding releases the GIL, so threads are as fast as processes and start at once.

    Args:
        partition: From `open_partition`.
        as_colors: Whether masks are read through a colormap.
        num_threads: Threads that decode.
        required: Parts that must have an image.
        progress: Called after each image.
        found: An inspection with earlier findings, to which the new ones are added. None: A new
            one.

    Returns:
        All that was found.
    """
    found = Inspection() if found is None else found
    for part in PARTS:
        source = getattr(partition, part)
        found.parts[part] = _inspect_part(source, part, found, as_colors, num_threads, progress)
        # If a list could not be opened, the reason was already added.
        lists = found.errors[findings.LISTS].counts if findings.LISTS in found.errors else ()
        if part in required and part not in lists and len(source) == 0:
            found.errors[findings.EMPTY].add(part, f"{source.name}: no image.")
    names = (len(partition.class_names), partition.num_classes)
    if names[0] != names[1]:
        found.errors[findings.SETTINGS].add(
            "settings", f"data.class_names has {names[0]} names, data.num_classes = {names[1]}."
        )
    copies.compare_names(partition, found)
    copies.compare_contents(partition, found)
    _look_at_classes(partition, found)
    return found


def survey_masks(
    sources: Sequence[Source],
    *,
    num_threads: int,
    at_most: int | None = None,
    progress: Callable[[], object] = lambda: None,
) -> tuple[Inspection, collections.Counter]:
    """Counts the stored values and colours of masks, whose classes are not known yet.

    Masks that cannot be read are skipped.

    Args:
        sources: Labelled sources.
        num_threads: Threads that decode.
        at_most: The largest number of masks to read, spread evenly over the first source. None:
            All masks of all sources.
        progress: Called after each mask.

    Returns:
        An inspection with `values` and `colors`, and the number of masks by (width, height).

    Raises:
        DataError: No mask can be read; the message has the fault of the first one.
    """
    found, sizes = Inspection(), collections.Counter()
    for source in sources if at_most is None else sources[:1]:
        count = len(source)
        step = 1 if at_most is None else max(1, math.ceil(count / at_most))
        for stored in decode_ahead(_StoredMasks(source), num_threads, range(0, count, step)):
            _keep_values(stored, found)
            if stored is not None:
                sizes[stored.size[::-1]] += 1
            progress()
    if not sizes and len(sources[0]):
        if isinstance(sources[0], FolderSource):
            checks.check_files(sources[0])
        sources[0][0]["label"]  # Raises the fault of the first mask.
    if not sizes:
        raise DataError(f"{sources[0].name}: no mask.")
    return found, sizes


@dataclasses.dataclass(frozen=True)
class _StoredMasks:
    """A source whose elements are its stored masks; None if a mask cannot be read."""

    source: Source

    def __getitem__(self, index: int) -> labels.StoredMask | None:
        try:
            return labels.stored_mask(*self.source.label_bytes(index))
        except DataError:
            return None


@dataclasses.dataclass(frozen=True)
class _Examples:
    """A source whose elements are the findings about an example; it never raises a DataError."""

    source: Source
    as_colors: bool

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict:
        try:
            example = self.source[index]
        except DataError:
            return _examine(self.source, index, self.as_colors)
        found = {"faults": [], **_describe(example["image"])}
        if "label" in example:
            found["ids"] = np.bincount(example["label"].ravel(), minlength=256)
        return found


def _describe(image: np.ndarray) -> dict:
    """The size (width, height) of an image, and a digest of its pixels."""
    digest = hashlib.blake2b(f"{image.shape}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(image))
    return {"size": image.shape[1::-1], "digest": int.from_bytes(digest.digest()) or 1}


def _examine(source: Source, index: int, as_colors: bool) -> dict:
    """Finds all faults of an example that cannot be used; drawn scenes never have any."""
    found = {"faults": []}
    try:
        found.update(_describe(source.read_image(index)))
    except DataError as error:
        gone = isinstance(source, FolderSource) and not os.path.isfile(source.image_path(index))
        found["faults"].append((findings.MISSING if gone else findings.IMAGE, str(error)))
    if source.labeled:
        _examine_label(source, index, as_colors, found)
    return found


def _examine_label(source: Source, index: int, as_colors: bool, found: dict) -> None:
    faults = found["faults"]
    try:
        data, path = source.label_bytes(index)
    except DataError as error:
        gone = isinstance(source, FolderSource) and not os.path.isfile(source.label_path(index))
        # An unreadable record has the same fault for its image and its mask; report it once.
        if str(error) not in (message for _, message in faults):
            faults.append((findings.MISSING if gone else findings.MASK, str(error)))
        return
    stored = labels.stored_mask(data, path, as_colors=as_colors)
    try:
        source.decode_label(data, path)
    except DataError as error:
        found["stored"] = stored
        kind = findings.MASK if stored is None else findings.VALUES
        if stored is not None and stored.colors is not None and not as_colors:
            kind = findings.COLORED
        faults.append((kind, str(error)))
    if stored is not None and "size" in found:
        try:
            source.compare_sizes(index, found["size"][::-1], stored.size)
        except DataError as error:
            faults.append((findings.SIZE, str(error)))


def _inspect_part(source, part, found, as_colors, num_threads, progress) -> Part:
    count = len(source)
    report = Part(source.name, np.zeros(count, bool), np.zeros(count, np.uint64))
    for index, example in enumerate(decode_ahead(_Examples(source, as_colors), num_threads)):
        for kind, message in example["faults"]:
            found.errors[kind].add(part, message)
        report.usable[index] = not example["faults"]
        report.digests[index] = example.get("digest", 0)
        if "size" in example:
            report.sizes[example["size"]] += 1
        if "ids" in example:
            report.num_masks += 1
            report.pixels += example["ids"]
            report.images += example["ids"] > 0
            if not example["ids"][: labels.IGNORE].any():
                found.warnings[findings.BLANK].add(part, f"{source.ids[index]} ({part})")
        _keep_values(example.get("stored"), found)
        progress()
    return report


def _keep_values(stored: labels.StoredMask | None, found: Inspection) -> None:
    if stored is None:
        return
    if stored.values is not None:
        found.values += stored.values
    if stored.colors is not None:
        found.colors.update(stored.colors)
        found.forget_rare_colors()


def _look_at_classes(partition: Partition, found: Inspection) -> None:
    labeled, val = found.parts["labeled"], found.parts["val"]
    checked = labeled.num_masks + val.num_masks
    if not checked:
        return
    try:
        checks.check_use_of_ids(labeled.images + val.images > 0, checked, labeled.name)
    except DataError as error:
        found.errors[findings.NO_USE].add("labeled", str(error), checked)
        return
    for part, report in (("labeled", labeled), ("val", val)):
        absent = np.flatnonzero(report.pixels[: partition.num_classes] == 0).tolist()
        if absent and report.num_masks:
            names = dict(enumerate(partition.class_names))
            shown = ", ".join(names.get(number, str(number)) for number in absent)
            found.warnings[findings.ABSENT].add(part, f"{part}: {shown}", len(absent))
