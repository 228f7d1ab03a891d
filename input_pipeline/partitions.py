"""A partition: which images are labelled, unlabelled and for validation."""

import dataclasses
import os
import re

from input_pipeline import lists, scenes
from input_pipeline.errors import DataError
from input_pipeline.labels import LabelReader
from input_pipeline.sources import FolderSource, SceneSource, Source

# VOC's own list of the training images that have a mask drawn by hand.
VOC_FINE_LIST = "ImageSets/Segmentation/train.txt"


@dataclasses.dataclass(frozen=True)
class Partition:
    """The three parts of a data set, and its classes in id order.

    `label_kinds` says how many of the labelled masks are 'fine' (PASCAL VOC's) and 'coarse'
    (SBD's); None where the data do not tell.
    """

    labeled: Source
    unlabeled: Source
    val: Source
    num_classes: int
    class_names: tuple[str, ...]
    label_kinds: dict[str, int] | None = None

    def counts(self) -> dict[str, int]:
        """Number of images in each part, and of labelled ones by kind where that is known."""
        kinds = {f"labeled_{kind}": count for kind, count in (self.label_kinds or {}).items()}
        parts = {part: len(getattr(self, part)) for part in ("labeled", "unlabeled", "val")}
        return {**parts, **kinds}

    def digests(self) -> dict[str, str]:
        """A short name of each part that only parts of the same images in this order share."""
        return {part: getattr(self, part).ids.digest() for part in ("labeled", "unlabeled", "val")}


def open_partition(
    *,
    source: str,
    root: str,
    labeled: str | None,
    unlabeled: str | None,
    val: str | None,
    num_classes: int,
    train: str = "",
    class_names: tuple[str, ...] = (),
    label_map: str = "",
    colormap: str = "",
    image_feature: str = "image",
    label_feature: str = "label",
) -> Partition:
    """Opens the three parts; `check_partition` looks at what they hold.

    Args:
        source: 'folder' (image files), 'tfds' (a TFDS dataset in ArrayRecord) or 'scenes' (drawn
            on the fly).
        root: folder that the paths in the lists are relative to, or of the dataset; unused by
            'scenes'.
        labeled: list file of `image label` lines, absolute or relative to root or to the working
            directory; for 'tfds' the first column is a key of the dataset, and a slice such as
            'train[:100]' may stand for a list; for 'scenes' a range START:STOP of scene numbers;
            None leaves the part empty, to open others where it cannot be.
        unlabeled: the same, where the second column may be missing and is ignored; or a folder
            or a glob, of which images named in the other two lists, and their masks, are left
            out; or '' for all images of `train` that the other two lists do not name; or None for
            no image at all.
        val: like labeled; for 'tfds' '' is the split 'validation' or 'val'.
        num_classes: K.
        train: all training images, in any of the ways of unlabeled; for 'tfds' '' is the split
            'train', for 'folder' '' is none.
        class_names: K names in id order; empty = the numbers, or the names of the scenes.
        label_map: see `labels.LabelReader`.
        colormap: see `labels.LabelReader`.
        image_feature: name of the image feature, for 'tfds'.
        label_feature: name of the mask feature, for 'tfds'.

    Raises:
        DataError: a list, folder or setting that cannot be used.
    """
    fields = {"labeled": labeled, "unlabeled": unlabeled, "val": val, "train": train}
    kinds = None
    if source == "folder":
        reader = LabelReader(num_classes, label_map, colormap)
        root = os.path.abspath(os.path.expanduser(root))
        parts = _open_folder(root, fields, reader)
        kinds = _count_kinds(root, parts["labeled"])
    elif source == "tfds":
        # Here and not above: TFDS takes a second to import.
        from input_pipeline import record_partition

        reader = LabelReader(num_classes, label_map, colormap)
        parts, kinds = record_partition.open_records(
            root, fields, reader, image_feature=image_feature, label_feature=label_feature
        )
    elif source == "scenes":
        if num_classes != len(scenes.CLASS_NAMES):
            raise DataError(
                f"data.num_classes = {num_classes}: scenes have {len(scenes.CLASS_NAMES)} "
                f"classes ({', '.join(scenes.CLASS_NAMES)})."
            )
        parts = {part: _open_scenes(part, fields[part]) for part in ("labeled", "unlabeled", "val")}
    else:
        raise DataError(f"data.source = {source!r}: must be 'folder', 'tfds' or 'scenes'.")
    names = names_of_classes(source, num_classes, class_names)
    return Partition(**parts, num_classes=num_classes, class_names=names, label_kinds=kinds)


def names_of_classes(
    source: str, num_classes: int, class_names: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Names in id order, known without the data; arguments as for `open_partition`."""
    default = scenes.CLASS_NAMES if source == "scenes" else map(str, range(num_classes))
    return tuple(class_names) or tuple(default)


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
        if fields[part] is None:
            parts[part] = FolderSource(root, (), (), reader=reader, name=f"{field} (not used)")
            continue
        if not fields[part]:
            raise DataError(f"{field} is empty. Set it to a list of `image label` lines.")
        path = lists.resolve_list(fields[part], root=root, field=field)
        images, labels = lists.read_pairs(path, field=field)
        images, labels = [_relative(x, root) for x in images], [_relative(x, root) for x in labels]
        listed.update(images, labels)
        parts[part] = FolderSource(root, images, labels, reader=reader, name=f"{field} ({path})")
    field = "data.unlabeled" if fields["unlabeled"] or not fields["train"] else "data.train"
    text = None if fields["unlabeled"] is None else fields[field.removeprefix("data.")]
    parts["unlabeled"] = _open_unlabeled(root, text or "", listed, field)
    return parts


def _open_unlabeled(root: str, text: str, listed: set[str], field: str) -> FolderSource:
    if not text:
        return FolderSource(root, (), name=f"{field} (not set)")
    full = os.path.join(root, os.path.expanduser(text))
    is_glob = any(character in text for character in "*?[") and not os.path.exists(full)
    is_list = not is_glob and not os.path.isdir(full)
    if is_list:
        name = lists.resolve_list(text, root=root, field=field)
        found = lists.read_images(name, field=field)
    else:
        name, found = text, lists.find_images(text, root=root, field=field)
    found = (_relative(path, root) for path in found)
    if is_list and field == "data.unlabeled":
        # A list says what is meant, so an image that is in two lists is a mistake; see the checks.
        return FolderSource(root, found, name=f"{field} ({name})")
    rest = FolderSource(
        root,
        (image for image in found if image not in listed),
        name=f"{field} ({name}) without data.labeled and data.val",
    )
    if not len(rest):
        raise DataError(
            f"{field} = {text!r}: all of its images are in data.labeled or data.val. "
            "Add other images, or clear the field."
        )
    return rest


def _count_kinds(root: str, labeled: FolderSource) -> dict[str, int] | None:
    """Labelled images with a mask of VOC, and those with one of SBD; None for other data."""
    path = os.path.join(root, VOC_FINE_LIST)
    if not os.path.isfile(path):
        return None
    fine = set(lists.read_images(path, field="data.root"))
    stems = [os.path.splitext(os.path.basename(image))[0] for image in labeled.ids]
    count = sum(stem in fine for stem in stems)
    return {"fine": count, "coarse": len(stems) - count}


def _open_scenes(part: str, text: str | None) -> SceneSource:
    if text is None or (part == "unlabeled" and not text):
        return SceneSource(0, 0, labeled=part != "unlabeled", name=f"data.{part} (not set)")
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
    # Most paths are in that spelling; for a million of them looking is much faster than doing.
    if path[0] not in "/." and "//" not in path and "/." not in path and path[-1] != "/":
        return path
    path = os.path.normpath(os.path.join(root, path))
    prefix = root if root.endswith(os.sep) else root + os.sep
    return path.removeprefix(prefix)
