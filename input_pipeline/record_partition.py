"""The three parts of a TFDS dataset, by lists of keys or by slices of its splits."""

import posixpath

import numpy as np

from input_pipeline import findings, lists
from input_pipeline.errors import DataError
from input_pipeline.labels import LabelReader
from input_pipeline.record_dataset import RecordDataset
from input_pipeline.record_source import RecordSource
from input_pipeline.sources import Source

_TRAIN, _VAL = ("train",), ("validation", "val")


def open_records(
    root: str,
    fields: dict[str, str | None],
    reader: LabelReader,
    *,
    image_feature: str,
    label_feature: str,
    note: findings.Note | None = None,
) -> tuple[dict[str, Source], dict[str, int] | None]:
    """Opens the labelled, unlabelled and validation part.

    Args:
        root: see `RecordDataset`.
        fields: 'labeled', 'unlabeled', 'val' and 'train', as `partitions.open_partition` has them.
        reader: reads the masks.
        image_feature: name of the feature that holds the images.
        label_feature: name of the feature that holds the masks.
        note: takes the faults of single entries, which are then left out; None = they are raised.

    Returns:
        The source of each part, and how many labelled masks are 'fine' and 'coarse' (None where
        the dataset does not say).

    Raises:
        DataError: a dataset, list, slice or feature that cannot be used.
    """
    dataset = RecordDataset(root)
    dataset.check_feature(image_feature, field="data.image_feature")
    dataset.check_feature(label_feature, field="data.label_feature")
    if fields["labeled"] == "":
        raise DataError(
            "data.labeled is empty. Set it to a list of `image label` lines, or to a slice of "
            f"{dataset.described()} such as train[:100]."
        )
    places, names = {}, {}
    for part in ("labeled", "val"):
        text = fields[part]
        if text == "":
            text = _default_split(dataset, _VAL, field="data.val")
        places[part], names[part] = _select(dataset, text, part, note)
    places["unlabeled"], names["unlabeled"] = _select_unlabeled(dataset, fields, places, note)
    parts = {
        part: RecordSource(
            dataset,
            places[part],
            image_feature=image_feature,
            label_feature="" if part == "unlabeled" else label_feature,
            reader=reader,
            name=names[part],
        )
        for part in ("labeled", "unlabeled", "val")
    }
    if dataset.kinds is None or "coarse" not in dataset.kinds:
        return parts, None
    kinds, counts = np.unique(dataset.kinds[places["labeled"]], return_counts=True)
    found = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    return parts, {kind: found.get(kind, 0) for kind in ("fine", "coarse")}


def _select(
    dataset: RecordDataset, text: str | None, part: str, note: findings.Note | None
) -> tuple[np.ndarray, str]:
    """Places of a slice, or of the keys in a list file; and the name of the source."""
    field = f"data.{part}"
    if text is None:
        return np.zeros(0, np.int64), f"{field} (not used)"
    if dataset.is_slice(text):
        return dataset.places(text, field=field), f"{field} ({text})"
    path = lists.resolve_list(text, root=dataset.folder, field=field)
    keys = [posixpath.normpath(key) for key in lists.read_images(path, field=field)]
    if not dataset.has_keys:
        raise DataError(
            f"{field} = {text!r}: {dataset.described()} has no names of images (files "
            "keys-SPLIT.txt), so a list cannot be looked up in it. Give a slice of a split, such "
            "as train[:100]."
        )
    places = dataset.find(keys)
    unknown = np.flatnonzero(places < 0)
    if unknown.size:
        first = int(unknown[0])
        line = lists.line_of(path, first)
        message = (
            f"{path}:{line}: no image {keys[first]} in {dataset.described()}; {unknown.size} of "
            f"{len(keys)} entries are unknown there. Is it a list for another dataset? Correct "
            f"{field} or data.root."
        )
        if note is None or unknown.size == len(keys):
            raise DataError(message)
        # The unlabelled images are the rest of all training images.
        group = "unlabeled" if part == "train" else part
        note(group, findings.LINES, message, int(unknown.size))
        places = places[places >= 0]
    return places, f"{field} ({path})"


def _select_unlabeled(dataset, fields, places, note) -> tuple[np.ndarray, str]:
    text = fields["unlabeled"]
    if text is None or text:
        return _select(dataset, text, "unlabeled", note)
    train = fields["train"] or _default_split(dataset, _TRAIN, field="data.train")
    everything, name = _select(dataset, train, "train", note)
    rest = everything[~np.isin(everything, np.concatenate([places["labeled"], places["val"]]))]
    return rest, f"{name} without data.labeled and data.val"


def _default_split(dataset: RecordDataset, names: tuple[str, ...], *, field: str) -> str:
    for name in names:
        if name in dataset.splits:
            return name
    raise DataError(
        f"{field} is empty, and {dataset.described()} has no split {' or '.join(names)}. Set "
        f"{field} to a slice of a split, or to a list."
    )
