"""A partition: which images are labelled, unlabelled and used for validation."""

import dataclasses
import re
from collections.abc import Iterator

from input_pipeline import findings
from input_pipeline.errors import DataError
from input_pipeline.partitions import folders, lists, pseudo_masks
from input_pipeline.sources import scenes
from input_pipeline.sources.base import Source
from input_pipeline.sources.labels import LabelReader
from input_pipeline.sources.scenes import SceneSource


@dataclasses.dataclass(frozen=True)
class Partition:
    """The three parts of a data set, and its classes.

    Attributes:
        labeled: Images with masks, for training.
        unlabeled: Images without masks, for training.
        val: Images with masks, for validation.
        num_classes: K.
        class_names: The names of the classes in id order.
        label_kinds: How many labelled masks are 'fine' (PASCAL VOC's) and 'coarse' (SBD's); None
            if the data do not say.
        by_lists: Whether lists name all images, so that later files in a folder change nothing.
        pseudo: Unlabelled images with pseudo masks, which join the labelled ones; None for none.
    """

    labeled: Source
    unlabeled: Source
    val: Source
    num_classes: int
    class_names: tuple[str, ...]
    label_kinds: dict[str, int] | None = None
    by_lists: bool = True
    pseudo: Source | None = None

    @property
    def parts(self) -> dict[str, Source]:
        """The images of each part that there is."""
        names = ("labeled", "unlabeled", "val", *(("pseudo",) if self.pseudo is not None else ()))
        return {name: getattr(self, name) for name in names}

    def counts(self) -> dict[str, int]:
        """Number of images in each part, and of labelled images by kind if that is known."""
        kinds = {f"labeled_{kind}": count for kind, count in (self.label_kinds or {}).items()}
        return {**{part: len(source) for part, source in self.parts.items()}, **kinds}

    def digests(self) -> dict[str, str]:
        """A short fingerprint of each part; only the same images in the same order share it."""
        return {part: source.ids.digest() for part, source in self.parts.items()}

    def faults_of_names(self) -> Iterator[tuple[str, str]]:
        """Parts and messages for files whose names a run could not write into its lists."""
        if self.by_lists:
            return
        for part in ("labeled", "unlabeled", "val"):
            for entry in zip(*getattr(self, part).columns, strict=True):
                if fault := lists.fault_of_entry(*entry):
                    yield part, fault

    def stream(self, part: str) -> Source:
        """The images that the rows of a part of the training batches are drawn from."""
        if part == "labeled" and self.pseudo is not None:
            return pseudo_masks.WithPseudo(self.labeled, self.pseudo)
        return getattr(self, part)

    def with_pseudo(self, folder: str, part: str) -> "Partition":
        """The same with the pseudo masks of a folder; see `pseudo_masks.open_pseudo`."""
        pseudo = pseudo_masks.open_pseudo(folder, self.unlabeled, part, self.num_classes)
        return dataclasses.replace(self, pseudo=pseudo)


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
    """Opens the three parts; `check_partition` checks their content.

    Args:
        source: 'folder' (image files), 'tfds' (a TFDS dataset in ArrayRecord) or 'scenes' (drawn
            on the fly).
        root: The folder that paths in lists are relative to, or the folder of the dataset; not
            used by 'scenes'.
        labeled: For 'folder' a list file of `image label` lines (absolute, or relative to root or
            to the working directory), or a folder of masks. A mask has the name of its image,
            except for the suffix; the image is in the folder `train`, else in `images` beside the
            folder of masks. For 'tfds' a list file whose first column is a key of the dataset, or
            a slice such as 'train[:100]'. For 'scenes' a range START:STOP of scene numbers. None
            leaves the part empty, so that the others can be opened without it.
        unlabeled: A list as for labeled, where the second column is optional and ignored; or
            folders, globs and lists, separated by commas, without the images and masks of the
            other two parts; or '' for all images of `train` that are not in the other two parts;
            or None for no images.
        val: As for labeled (but images beside the masks come before those in `train`), or a share
            of the labelled images such as '0.2'. For 'tfds', '' means the split 'validation' or
            'val'.
        num_classes: K.
        train: All training images, in any form that unlabeled may have. '' means the split 'train'
            for 'tfds' and no images for 'folder'.
        class_names: K names in id order. Empty: The ids, or the names of the scenes.
        label_map: See `labels.LabelReader`.
        colormap: See `labels.LabelReader`.
        image_feature: Name of the image feature, for 'tfds'.
        label_feature: Name of the mask feature, for 'tfds'.
        note: Called with the faults of single entries, which are then left out. None: They are
            raised.

    Raises:
        DataError: A list, folder or setting cannot be used.
    """
    fields = {"labeled": labeled, "unlabeled": unlabeled, "val": val, "train": train}
    kinds, by_lists = None, True
    if source == "folder":
        reader = LabelReader(num_classes, label_map, colormap)
        parts, kinds, by_lists = folders.open_files(root, fields, reader, note)
    elif source == "tfds":
        # Imported here because TFDS takes a second to import.
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
        parts = _open_scenes(fields, num_classes)
    else:
        raise DataError(f"data.source = {source!r}: must be 'folder', 'tfds' or 'scenes'.")
    return Partition(
        **parts,
        num_classes=num_classes,
        class_names=names_of_classes(source, num_classes, class_names),
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
    """Opens a partition without its faulty parts and entries.

    Args:
        note: Called once with each fault.
        labeled: As for `open_partition`.
        unlabeled: As for `open_partition`.
        val: As for `open_partition`.
        **others: As for `open_partition`.

    Returns:
        The partition, whose faulty parts are empty; None if no part can be opened.
    """
    noted = {}

    def note_once(part: str, kind: str, message: str, count: int) -> None:
        noted.setdefault((kind, message), (part, count))

    parts = {"labeled": labeled, "unlabeled": unlabeled, "val": val}
    partition, usable = None, dict.fromkeys(parts)
    try:
        partition = open_partition(**others, **parts, note=note_once)
    except DataError:
        # Add one part at a time and keep those that open. The unlabelled images come last, because
        # they may be defined as the rest.
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
    """The class names in id order, without opening the data; arguments as for `open_partition`."""
    default = scenes.CLASS_NAMES if source == "scenes" else map(str, range(num_classes))
    return tuple(class_names) or tuple(default)


def num_steps_per_epoch(
    partition: Partition, *, labeled_batch_size: int, unlabeled_batch_size: int = 0
) -> int:
    """Number of full batches in one pass over the data, at least 1.

    Args:
        partition: The data.
        labeled_batch_size: Rows of a global labelled batch.
        unlabeled_batch_size: Rows of a global unlabelled batch; the epoch is a pass over the
            unlabelled images. 0 for training on masks alone, whose epoch is a pass over the
            labelled images, as often as they are listed, and the pseudo-labelled ones.
    """
    if unlabeled_batch_size:
        return max(1, len(partition.unlabeled) // unlabeled_batch_size)
    return max(1, len(partition.stream("labeled")) // labeled_batch_size)


def _open_scenes(fields: dict[str, str | None], num_classes: int) -> dict[str, SceneSource]:
    expected = len(scenes.CLASS_NAMES)
    if num_classes != expected:
        raise DataError(
            f"data.num_classes = {num_classes}: scenes have {expected} classes "
            f"({', '.join(scenes.CLASS_NAMES)}). Set it to {expected}."
        )
    return {part: _scenes(part, fields[part]) for part in ("labeled", "unlabeled", "val")}


def _scenes(part: str, text: str | None) -> SceneSource:
    if text is None or (part == "unlabeled" and not text):
        return SceneSource(0, 0, labeled=part != "unlabeled", name=f"data.{part} (not set)")
    match = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", text)
    if not match or int(match[1]) >= int(match[2]):
        raise DataError(
            f"data.{part} = {text!r}: for scenes this must be a range START:STOP of scene numbers "
            "with START below STOP, such as 0:12."
        )
    return SceneSource(
        int(match[1]),
        int(match[2]),
        labeled=part != "unlabeled",
        name=f"data.{part} ({text})",
    )
