"""A partition: which images are labelled, unlabelled and for validation."""

import dataclasses
import re

from input_pipeline import findings
from input_pipeline.errors import DataError
from input_pipeline.partitions import folders
from input_pipeline.sources import scenes
from input_pipeline.sources.base import SceneSource, Source
from input_pipeline.sources.labels import LabelReader


@dataclasses.dataclass(frozen=True)
class Partition:
    """The three parts of a data set, and its classes in id order.

    `label_kinds` says how many of the labelled masks are 'fine' (PASCAL VOC's) and 'coarse'
    (SBD's); None where the data do not tell. `by_lists` is False where a part is whatever a folder
    held when it was opened.
    """

    labeled: Source
    unlabeled: Source
    val: Source
    num_classes: int
    class_names: tuple[str, ...]
    label_kinds: dict[str, int] | None = None
    by_lists: bool = True

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
    note: findings.Note | None = None,
) -> Partition:
    """Opens the three parts; `check_partition` looks at what they hold.

    Args:
        source: 'folder' (image files), 'tfds' (a TFDS dataset in ArrayRecord) or 'scenes' (drawn
            on the fly).
        root: Folder that the paths in the lists are relative to, or of the dataset; unused by
            'scenes'.
        labeled: list file of `image label` lines, absolute or relative to root or to the working
            directory; or a folder of masks, each of the name of its image (the suffix may
            differ), which lies in the folder `train`, else in `images` beside the masks; for
            'tfds' the first column is a key of the dataset, and a slice such as 'train[:100]' may
            stand for a list; for 'scenes' a range START:STOP of scene numbers; None leaves the
            part empty, to open others where it cannot be.
        unlabeled: Such a list, where the second column may be missing and is ignored; or folders,
            globs and lists with commas between them, of which images of the other two parts, and
            their masks, are left out; or '' for all images of `train` that are not in the other
            two parts; or None for no image at all.
        val: Like labeled (images beside the masks come before `train`), or a share such as '0.2'
            of the labelled images; for 'tfds' '' is the split 'validation' or 'val'.
        num_classes: K.
        train: All training images, in any of the ways of unlabeled; for 'tfds' '' is the split
            'train', for 'folder' '' is none.
        class_names: K names in id order; empty = the numbers, or the names of the scenes.
        label_map: See `labels.LabelReader`.
        colormap: See `labels.LabelReader`.
        image_feature: Name of the image feature, for 'tfds'.
        label_feature: Name of the mask feature, for 'tfds'.
        note: Takes the faults of single entries, which are then left out; None = they are raised.

    Raises:
        DataError: A list, folder or setting that cannot be used.
    """
    fields = {"labeled": labeled, "unlabeled": unlabeled, "val": val, "train": train}
    kinds, by_lists = None, True
    if source == "folder":
        reader = LabelReader(num_classes, label_map, colormap)
        parts, kinds, by_lists = folders.open_files(root, fields, reader, note)
    elif source == "tfds":
        # Here and not above: TFDS takes a second to import.
        from input_pipeline.partitions import records

        reader = LabelReader(num_classes, label_map, colormap)
        parts, kinds = records.open_records(
            root,
            fields,
            reader,
            image_feature=image_feature,
            label_feature=label_feature,
            note=note,
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
    return Partition(
        **parts,
        num_classes=num_classes,
        class_names=names,
        label_kinds=kinds,
        by_lists=by_lists,
    )


def open_what_can_be(
    note: findings.Note,
    *,
    labeled: str | None,
    unlabeled: str | None,
    val: str | None,
    **others,
) -> Partition | None:
    """Opens a partition without the parts and entries that are faulty.

    Args:
        note: Takes each fault once.
        labeled: As for `open_partition`.
        unlabeled: As for `open_partition`.
        val: As for `open_partition`.
        **others: Further arguments of `open_partition`.

    Returns:
        What can be opened; None where that is nothing.
    """
    noted = {}

    def note_once(part: str, kind: str, message: str, count: int) -> None:
        noted.setdefault((kind, message), (part, count))

    parts = {"labeled": labeled, "unlabeled": unlabeled, "val": val}
    partition, usable = None, dict.fromkeys(parts)
    try:
        partition = open_partition(**others, **parts, note=note_once)
    except DataError:
        # Each by itself, and the unlabelled images, which are the rest, without what is left out.
        for part in ("labeled", "val", "unlabeled"):
            try:
                now = {**usable, part: parts[part]}
                partition = open_partition(**others, **now, note=note_once)
                usable = now
            except DataError as error:
                note_once(part, findings.LISTS, str(error), 1)
    for (kind, message), (part, count) in noted.items():
        note(part, kind, message, count)
    return partition


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
        partition: The data.
        labeled_batch_size: Rows of a global labelled batch.
        unlabeled_batch_size: Rows of a global unlabelled batch; 0 = supervised training, whose
            epoch is a pass over the labelled images.
    """
    if unlabeled_batch_size:
        return max(1, len(partition.unlabeled) // unlabeled_batch_size)
    return max(1, len(partition.labeled) // labeled_batch_size)


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
