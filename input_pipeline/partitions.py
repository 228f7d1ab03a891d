"""A partition: which images are labelled, unlabelled and for validation."""

import dataclasses
import logging
import os
import re

from input_pipeline import lists, scenes
from input_pipeline.errors import DataError
from input_pipeline.labels import LabelReader
from input_pipeline.sources import FolderSource, SceneSource, Source


@dataclasses.dataclass(frozen=True)
class Partition:
    """The three parts of a data set, and its classes in id order."""

    labeled: Source
    unlabeled: Source
    val: Source
    num_classes: int
    class_names: tuple[str, ...]


def open_partition(
    *,
    source: str,
    root: str,
    labeled: str,
    unlabeled: str,
    val: str,
    num_classes: int,
    class_names: tuple[str, ...] = (),
    label_map: str = "",
    colormap: str = "",
) -> Partition:
    """Opens the three parts; `check_partition` looks at what they hold.

    Args:
        source: 'folder' (image files) or 'scenes' (drawn on the fly).
        root: folder that the paths in the lists are relative to; unused by 'scenes'.
        labeled: list file of `image label` lines, absolute or relative to root or to the working
            directory; for 'scenes' a range START:STOP of scene numbers.
        unlabeled: the same, where the second column may be missing and is ignored; or a folder
            or a glob, of which images named in the other two lists, and their masks, are left
            out; or '' for none.
        val: like labeled.
        num_classes: K.
        class_names: K names in id order; empty = the numbers, or the names of the scenes.
        label_map: see `labels.LabelReader`.
        colormap: see `labels.LabelReader`.

    Raises:
        DataError: a list, folder or setting that cannot be used.
    """
    fields = {"labeled": labeled, "unlabeled": unlabeled, "val": val}
    if source == "folder":
        reader = LabelReader(num_classes, label_map, colormap)
        parts = _open_folder(os.path.abspath(os.path.expanduser(root)), fields, reader)
        names = tuple(class_names) or tuple(str(number) for number in range(num_classes))
    elif source == "scenes":
        if num_classes != len(scenes.CLASS_NAMES):
            raise DataError(
                f"data.num_classes = {num_classes}: scenes have {len(scenes.CLASS_NAMES)} "
                f"classes ({', '.join(scenes.CLASS_NAMES)})."
            )
        parts = {part: _open_scenes(part, text) for part, text in fields.items()}
        names = tuple(class_names) or scenes.CLASS_NAMES
    else:
        raise DataError(f"data.source = {source!r}: must be 'folder' or 'scenes'.")
    return Partition(**parts, num_classes=num_classes, class_names=names)


def num_steps_per_epoch(
    partition: Partition, *, labeled_batch_size: int, unlabeled_batch_size: int = 0
) -> int:
    """Number of full batches in one pass over the data, at least 1.

    Args:
        partition: the data.
        labeled_batch_size: rows of a global labelled batch.
        unlabeled_batch_size: rows of a global unlabelled batch; 0 = supervised training, whose
            epoch is a pass over the labelled images.
    """
    if unlabeled_batch_size:
        return max(1, len(partition.unlabeled) // unlabeled_batch_size)
    return max(1, len(partition.labeled) // labeled_batch_size)


def _open_folder(root: str, fields: dict[str, str], reader: LabelReader) -> dict[str, Source]:
    if not os.path.isdir(root):
        raise DataError(
            f"data.root: no folder {root}. Put the data set there, or set data.root to its folder."
        )
    parts, listed = {}, set()
    for part in ("labeled", "val"):
        field = f"data.{part}"
        if not fields[part]:
            raise DataError(f"{field} is empty. Set it to a list of `image label` lines.")
        path = lists.resolve_list(fields[part], root=root, field=field)
        images, labels = lists.read_pairs(path, field=field)
        images, labels = [_relative(x, root) for x in images], [_relative(x, root) for x in labels]
        listed.update(images, labels)
        parts[part] = FolderSource(root, images, labels, reader=reader, name=f"{field} ({path})")
    parts["unlabeled"] = _open_unlabeled(root, fields["unlabeled"], listed)
    return parts


def _open_unlabeled(root: str, text: str, listed: set[str]) -> FolderSource:
    field = "data.unlabeled"
    if not text:
        return FolderSource(root, (), name=f"{field} (not set)")
    full = os.path.join(root, os.path.expanduser(text))
    is_glob = any(character in text for character in "*?[") and not os.path.exists(full)
    if not is_glob and not os.path.isdir(full):
        path = lists.resolve_list(text, root=root, field=field)
        images = lists.read_images(path, field=field)
        return FolderSource(root, (_relative(x, root) for x in images), name=f"{field} ({path})")
    found = [_relative(x, root) for x in lists.find_images(text, root=root, field=field)]
    images = [image for image in found if image not in listed]
    if not images:
        raise DataError(
            f"{field} = {text!r}: all of its {len(found)} images are in data.labeled or data.val. "
            "Add other images, or clear the field."
        )
    logging.getLogger(__name__).info(
        "%s = %r: %d images, %d more are in the labelled or validation list",
        field, text, len(images), len(found) - len(images),
    )  # fmt: skip
    return FolderSource(root, images, name=f"{field} ({text})")


def _open_scenes(part: str, text: str) -> SceneSource:
    if part == "unlabeled" and not text:
        return SceneSource(0, 0, labeled=False, name="data.unlabeled (not set)")
    match = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", text)
    if not match or int(match[1]) >= int(match[2]):
        raise DataError(
            f"data.{part} = {text!r}: for scenes it must be a range START:STOP of scene numbers "
            "with START below STOP, such as 0:12."
        )
    return SceneSource(
        int(match[1]),
        int(match[2]),
        labeled=part != "unlabeled",
        name=f"data.{part} ({text})",
    )


def _relative(path: str, root: str) -> str:
    """One spelling for a path, so that equal files have equal ids: relative to root if below."""
    path = os.path.normpath(os.path.join(root, path))
    prefix = root if root.endswith(os.sep) else root + os.sep
    return path.removeprefix(prefix)
