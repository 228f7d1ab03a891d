"""The three parts of a TFDS dataset, given by lists of keys or by slices of its splits."""

import collections
import posixpath

import numpy as np

from input_pipeline import findings
from input_pipeline.errors import DataError
from input_pipeline.partitions import lists
from input_pipeline.sources.base import Source
from input_pipeline.sources.labels import LabelReader
from input_pipeline.sources.record_dataset import RecordDataset
from input_pipeline.sources.record_source import RecordSource

MAX_BAD_LINES = 20  # A message names no more bad lines than this.
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
        root: See `RecordDataset`.
        fields: 'labeled', 'unlabeled', 'val' and 'train' as for `partition.open_partition`.
        reader: Reads the masks.
        image_feature: Name of the feature that holds the images.
        label_feature: Name of the feature that holds the masks.
        note: Called with the faults of single entries, which are then left out. None: They are
            raised.

    Returns:
        The source of each part, and how many labelled masks are 'fine' and 'coarse' (None if the
        dataset does not say).

    Raises:
        DataError: A dataset, list, slice or feature cannot be used.
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
    if dataset.kinds is None or not dataset.kinds.has("coarse"):
        return parts, None
    found = collections.Counter(dataset.kinds.take(places["labeled"]))
    return parts, {kind: found[kind] for kind in ("fine", "coarse")}


def _select(
    dataset: RecordDataset, text: str | None, part: str, note: findings.Note | None
) -> tuple[np.ndarray, str]:
    """The places of a slice or of the keys in a list file, and the name of the source."""
    field = f"data.{part}"
    if text is None:
        return np.zeros(0, np.int64), f"{field} (not used)"
    if dataset.is_slice(text):
        return dataset.places(text, field=field), f"{field} ({text})"
    path = lists.resolve_list(text, root=dataset.folder, field=field)
    if not dataset.has_keys:
        raise DataError(
            f"{field} = {text!r}: {dataset.described()} has no image names (files "
            f"keys-SPLIT.txt) to look up a list in. Set {field} to a slice of a split, such as "
            "train[:100]."
        )
    plain = lists.plain_paths(path)
    if plain is not None and (places := dataset.find(plain)).min() >= 0:
        return places, f"{field} ({path})"
    return _select_by_lines(dataset, path, text, part, note)


def _select_by_lines(
    dataset: RecordDataset, path: str, text: str, part: str, note: findings.Note | None
) -> tuple[np.ndarray, str]:
    """The same for the keys in a list file of any form; names all lines that cannot be used."""
    field, numbers, keys, bad = f"data.{part}", [], [], {}
    for number, columns in lists.numbered_lines(path, field=field):
        if len(columns) > 2:
            bad[number] = f"{len(columns)} columns, expected 1 or 2: {' '.join(columns)!r}"
        else:
            numbers.append(number)
            keys.append(_normal(columns[0]))
    malformed = bool(bad)
    places = dataset.find(keys)
    unknown = np.flatnonzero(places < 0).tolist()
    for index in unknown:
        bad[numbers[index]] = f"no image {keys[index]}"
        if dataset.is_slice(keys[index]):
            bad[numbers[index]] += f" (it is a slice; set {field} itself to it)"
    if not bad:
        return places, f"{field} ({path})"
    message = _bad_lines(path, bad, len(keys) + len(bad) - len(unknown))
    message += f" Each line must name an image of {dataset.described()}."
    if malformed:
        message += " Columns are separated by blanks; end a name that contains a blank with a tab."
    message += f" Is it a list for another dataset? Correct the list, {field} or data.root."
    if note is None or malformed or len(unknown) == len(keys):
        raise DataError(message)
    # data.train defines the unlabelled images, which are the rest of all training images.
    note("unlabeled" if part == "train" else part, findings.LINES, message, len(unknown))
    return places[places >= 0], f"{field} ({path})"


def _normal(key: str) -> str:
    # Most keys are normal, and this check is faster than `normpath`.
    if "//" in key or "./" in key or key.endswith(("/", ".")):
        return posixpath.normpath(key)
    return key


def _bad_lines(path: str, bad: dict[int, str], total: int) -> str:
    """Names the first bad lines, given as reasons by line number, and counts the others."""
    (first, reason), *others = sorted(bad.items())[:MAX_BAD_LINES]
    text = f"{path}:{first}: {reason}"
    text += "".join(f"; line {number}: {reason}" for number, reason in others)
    if len(bad) > MAX_BAD_LINES:
        text += f"; and {len(bad) - MAX_BAD_LINES} more"
    return f"{text}. {len(bad)} of {total} lines cannot be used."


def _select_unlabeled(dataset, fields, places, note) -> tuple[np.ndarray, str]:
    text = fields["unlabeled"]
    if text is None or text:
        return _select(dataset, text, "unlabeled", note)
    train = fields["train"] or _default_split(dataset, _TRAIN, field="data.train")
    everything, name = _select(dataset, train, "train", note)
    rest = everything[~np.isin(everything, np.concatenate([places["labeled"], places["val"]]))]
    return rest, f"the rest of {name}"


def _default_split(dataset: RecordDataset, names: tuple[str, ...], *, field: str) -> str:
    for name in names:
        if name in dataset.splits:
            return name
    raise DataError(
        f"{field} is empty, and {dataset.described()} has no split {' or '.join(names)}. Set "
        f"{field} to a slice of a split, or to a list."
    )
