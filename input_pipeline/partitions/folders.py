"""The three parts of a data set of image files, given by lists, folders, globs or masks."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence

from input_pipeline import findings, near_names
from input_pipeline.errors import DataError
from input_pipeline.partitions import lists, paired_folders
from input_pipeline.sources.folder import FolderSource
from input_pipeline.sources.labels import LabelReader

# VOC's own list of the training images that have a mask drawn by hand.
VOC_FINE_LIST = "ImageSets/Segmentation/train.txt"
_SHARE = re.compile(r"0?\.\d*[1-9]\d*")
_NUMBER = re.compile(r"-?[\d.,]+ ?%?")

Pairs = tuple[str, list[str], list[str]]  # A name for messages, images, masks.


def open_files(
    root: str,
    fields: dict[str, str | None],
    reader: LabelReader,
    note: findings.Note | None = None,
) -> tuple[dict[str, FolderSource], dict[str, int] | None, bool]:
    """Opens the labelled, unlabelled and validation part.

    Args:
        root: The folder that paths are relative to.
        fields: 'labeled', 'unlabeled', 'val' and 'train' as for `partition.open_partition`.
        reader: Reads the masks.
        note: Called with the faults of single entries, which are then left out. None: They are
            raised.

    Returns:
        The source of each part; how many labelled masks are 'fine' and 'coarse' (None if the data
        do not say); and whether lists name every image.

    Raises:
        DataError: A list, folder or setting cannot be used.
    """
    root = find_root(root)
    pairs = {"labeled": _open_pairs(root, "labeled", fields, note)}
    if is_share(root, fields["val"]):
        pairs["labeled"], pairs["val"] = _split_off(pairs["labeled"], fields)
    else:
        pairs["val"] = _open_pairs(root, "val", fields, note)
    parts = {
        part: FolderSource(root, images, labels, reader=reader, name=name)
        for part, (name, images, labels) in pairs.items()
    }
    listed = {path for _, images, labels in pairs.values() for path in (*images, *labels)}
    field = "data.unlabeled" if fields["unlabeled"] or not fields["train"] else "data.train"
    text = None if fields["unlabeled"] is None else fields[field.removeprefix("data.")]
    parts["unlabeled"] = _open_unlabeled(
        root, text or "", listed, field, _noting(note, "unlabeled", findings.LINES)
    )
    by_lists = not any(
        paired_folders.is_folder(root, fields[part] or "") or is_share(root, fields[part])
        for part in ("labeled", "val")
    ) and not any(_is_searched(root, item) for item in _items(root, text or ""))
    return parts, _count_kinds(root, parts["labeled"]), by_lists


def find_root(root: str) -> str:
    """The absolute path of data.root.

    Raises:
        DataError: No such folder.
    """
    full = os.path.abspath(os.path.expanduser(root))
    if not os.path.isdir(full):
        exists = os.path.exists(full)
        what = f"{full} is not a folder" if exists else f"there is no folder {full}"
        raise DataError(
            f"data.root = {root!r}: {what}. Put the data set there (the top of the "
            f"configuration file says how), or set data.root to its folder.{near_names.hint(root)}"
        )
    if not os.access(full, os.R_OK | os.X_OK):
        raise DataError(
            f"data.root = {root!r}: no permission to read {full}. Change its permissions, or copy "
            "it."
        )
    return full


def is_share(root: str, text: str | None) -> bool:
    """Whether data.val is a share such as 0.2, and not the name of a list."""
    return bool(_SHARE.fullmatch(text or "")) and not os.path.exists(os.path.join(root, text))


def _noting(note: findings.Note | None, part: str, kind: str) -> Callable[[str], object] | None:
    return None if note is None else lambda message: note(part, kind, message, 1)


def _open_pairs(
    root: str, part: str, fields: dict[str, str | None], note: findings.Note | None
) -> Pairs:
    field, text = f"data.{part}", fields[part]
    if text is None:
        return f"{field} (not used)", [], []
    if not text:
        raise DataError(
            f"{field} is empty. Set it to a list of `image label` lines or to a folder of masks."
        )
    if part == "val" and _NUMBER.fullmatch(text) and not os.path.exists(os.path.join(root, text)):
        raise DataError(
            f"data.val = {text!r}: a share of the labelled images is a number between 0 and 1, "
            "such as 0.2."
        )
    if paired_folders.is_folder(root, text):
        name, by_name = text, _noting(note, part, findings.NAMES)
        images, labels = paired_folders.pair(root, part, text, fields["train"], by_name)
    else:
        name = lists.resolve_list(text, root=root, field=field)
        by_line = _noting(note, part, findings.LINES)
        images, labels = lists.read_pairs(name, field=field, note=by_line)
    images, labels = [_relative(x, root) for x in images], [_relative(x, root) for x in labels]
    return f"{field} ({name})", images, labels


def _split_off(labeled: Pairs, fields: dict[str, str | None]) -> tuple[Pairs, Pairs]:
    """Splits the labelled pairs into those for training and a share for validation.

    The images with the smallest hashes of their paths form the share. So the split is the same for
    every seed and machine, and neighbours, such as frames of a film, are mixed.
    """
    text, (name, images, labels) = fields["val"], labeled
    if fields["labeled"] is None:
        raise DataError(f"data.val = {text!r} is a share of data.labeled, which cannot be used.")
    if len(images) < 2:
        raise DataError(
            f"data.val = {text!r}: {name} has too few labelled images ({len(images)}) to split "
            "between training and validation. Label more, or set data.val to a list."
        )
    count = min(max(1, round(float(text) * len(images))), len(images) - 1)
    order = sorted(range(len(images)), key=lambda index: _digest(images[index]))
    chosen = set(order[:count])

    def take(name: str, inside: bool) -> Pairs:
        kept = [index for index in range(len(images)) if (index in chosen) is inside]
        return name, [images[index] for index in kept], [labels[index] for index in kept]

    # Only the name of the labelled part mentions the list or folder.
    kept = take(f"the training share of {name}", False)
    return kept, take(f"data.val ({text} of data.labeled)", True)


def _digest(path: str) -> bytes:
    return hashlib.blake2b(os.fsencode(path), digest_size=16).digest()


def _open_unlabeled(
    root: str, text: str, listed: set[str], field: str, note: Callable[[str], object] | None
) -> FolderSource:
    if not text:
        return FolderSource(root, (), name=f"{field} (not set)")
    items = _items(root, text)
    if items == [text] and field == "data.unlabeled" and not _is_searched(root, text):
        # A list is explicit: an image in two lists is a mistake, which `check_partition` reports.
        name = lists.resolve_list(text, root=root, field=field)
        found = lists.plain_paths(name)
        if found is None:
            paths = lists.read_images(name, field=field, note=note)
            found = (_relative(path, root) for path in paths)
        return FolderSource(root, found, name=f"{field} ({name})")
    rest = FolderSource(
        root,
        (x for item in items for x in _found(root, item, field, note) if x not in listed),
        name=f"the rest of {field} ({text})",
    )
    if not len(rest):
        raise DataError(
            f"{field} = {text!r}: all of its images are in data.labeled or data.val. "
            "Add other images, or train with config.method.name=supervised."
        )
    return rest


def _found(root: str, item: str, field: str, note: Callable[[str], object] | None) -> Iterator[str]:
    """The images of a list, a folder or a glob, with normalized paths."""
    if _is_searched(root, item):
        found = lists.find_images(item, root=root, field=field)
    else:
        name = lists.resolve_list(item, root=root, field=field)
        found = lists.read_images(name, field=field, note=note)
    return (_relative(path, root) for path in found)


def _items(root: str, text: str) -> Sequence[str]:
    """Splits a setting at commas, unless it is itself the name of a file or folder."""
    if os.path.exists(os.path.join(root, os.path.expanduser(text))):
        return [text]
    return [item.strip() for item in text.split(",") if item.strip()]


def _is_searched(root: str, text: str) -> bool:
    """Whether a setting is a folder or a glob, not a list."""
    full = os.path.join(root, os.path.expanduser(text))
    return os.path.isdir(full) or (
        any(character in text for character in "*?[") and not os.path.exists(full)
    )


def _count_kinds(root: str, labeled: FolderSource) -> dict[str, int] | None:
    """Number of labelled masks from VOC and from SBD; None for other data."""
    path = os.path.join(root, VOC_FINE_LIST)
    if not os.path.isfile(path):
        return None
    fine = set(lists.read_images(path, field="data.root"))
    stems = [os.path.splitext(os.path.basename(image))[0] for image in labeled.ids]
    count = sum(stem in fine for stem in stems)
    return {"fine": count, "coarse": len(stems) - count}


def _relative(path: str, root: str) -> str:
    """Normalizes a path, relative to root if it is below it, so that equal files have equal ids."""
    # Most paths are normalized already, and checking a million of them is much faster than
    # normalizing them.
    if path[0] not in "/." and "//" not in path and "/." not in path and path[-1] != "/":
        return path
    path = os.path.normpath(os.path.join(root, path))
    prefix = root if root.endswith(os.sep) else root + os.sep
    return path.removeprefix(prefix)
