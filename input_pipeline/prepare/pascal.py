"""PASCAL VOC 2012 with the masks of SBD: 10,582 training and 1,449 validation images.

The training images are VOC's own 1,464 and those of SBD (Hariharan et al., ICCV 2011: training and
validation lists) that are not among VOC's validation images. If both have a mask of an image, VOC's
is taken: it is drawn by hand ('fine'), while SBD's come from polygons ('coarse').
"""

import dataclasses
import functools
import re

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.prepare import archives, dataset, records
from input_pipeline.prepare.archives import Archive
from input_pipeline.prepare.dataset import Options
from input_pipeline.prepare.masks import MaskFolder
from input_pipeline.prepare.mat_files import MatReaders
from input_pipeline.sources.labels import IGNORE

NUM_CLASSES = 21
NUM_FINE, NUM_TRAIN, NUM_VAL = 1464, 10582, 1449
# One worker reads about as fast as this many threads encode what it has read.
_THREADS_PER_READER = 4

VOC = archives.Wanted(
    title="PASCAL VOC 2012",
    file="VOCtrainval_11-May-2012.tar",
    pattern="VOCtrainval*.tar",
    root="VOC2012",
    folders=("VOCdevkit/VOC2012", "VOC2012", "."),
    contents="ImageSets/Segmentation",
)
SBD = archives.Wanted(
    title="SBD (Semantic Boundaries Dataset)",
    file="benchmark.tgz",
    pattern="benchmark*.t*gz",
    root="dataset",
    folders=("benchmark_RELEASE/dataset", "dataset", "."),
    contents="cls",
)


@dataclasses.dataclass(frozen=True)
class _Lists:
    """Image names: VOC's training and validation images, and SBD's alone."""

    fine: list[str]
    val: list[str]
    coarse: list[str]


def _make(final: str, voc: Archive, sbd: Archive, masks: MaskFolder, options: Options) -> str:
    lists = _convert(voc, sbd, masks, options)
    _write(final, lists, voc, sbd, masks)
    return (
        f"{len(lists.fine) + len(lists.coarse)} training images ({len(lists.fine)} fine, "
        f"{len(lists.coarse)} coarse masks), {len(lists.val)} validation images."
    )


RECIPE = dataset.Recipe("pascal", (VOC, SBD), _make)


def _convert(voc, sbd, masks: MaskFolder, options: Options) -> _Lists:
    """Converts all masks and checks the counts."""
    fine = voc.read_lines("ImageSets/Segmentation/train.txt")
    val = voc.read_lines("ImageSets/Segmentation/val.txt")
    if not options.allow_counts:
        _check_count(len(fine), NUM_FINE, "ImageSets/Segmentation/train.txt gives", voc)
        _check_count(len(val), NUM_VAL, "ImageSets/Segmentation/val.txt gives", voc)
    _convert_voc(voc, [*fine, *val], masks, options.num_threads)
    listed = _convert_sbd(sbd, {*fine, *val}, masks, options.num_threads)
    coarse = sorted(listed.difference(fine, val))
    if not options.allow_counts:
        what = "with VOC's train.txt, its train.txt and val.txt give"
        _check_count(len(fine) + len(coarse), NUM_TRAIN, what, sbd)
    return _Lists(fine, val, coarse)


def _check_count(found: int, expected: int, what: str, archive: archives.Archive) -> None:
    if found != expected:
        raise DataError(
            f"{archive.path}: {what} {found} images, expected {expected}. Take the "
            "official archives, or add --allow_counts if it is meant to be so."
        )


def _convert_voc(voc, names: list[str], masks: MaskFolder, num_threads: int) -> None:
    missing = [name for name in names if name not in masks]
    masks.convert(
        ((name, voc.read(f"SegmentationClass/{name}.png")) for name in missing),
        _decode_palette,
        total=len(missing),
        title="VOC masks",
        num_threads=num_threads,
    )


def _convert_sbd(sbd, voc_names: set[str], masks: MaskFolder, num_threads: int) -> set[str]:
    """Converts masks of images that VOC has no mask of; returns the names that SBD lists."""
    listed: set[str] = set()

    def is_wanted(path: str) -> bool:
        name = _mat_name(path)
        if name is None:
            return path in ("train.txt", "val.txt")
        return name not in voc_names and name not in masks

    def masks_in_passing():
        for path, data in sbd.stream(is_wanted):
            name = _mat_name(path)
            if name is None:
                listed.update(data.decode("utf-8", "replace").split())
            else:
                yield name, data

    with MatReaders(-(-num_threads // _THREADS_PER_READER)) as readers:
        masks.convert(
            masks_in_passing(),
            functools.partial(_decode_mat, readers),
            total=None,
            title="SBD masks",
            num_threads=num_threads,
        )
    return listed


def _mat_name(path: str) -> str | None:
    match = re.fullmatch(r"cls/(\w+)\.mat", path)
    return match[1] if match else None


def _write(final: str, lists: _Lists, voc, sbd, masks: MaskFolder) -> None:
    for name in lists.coarse:
        if name not in masks:
            raise DataError(
                f"{sbd.path}: lists {name} but has no cls/{name}.mat. Expected {SBD.file} of "
                f"{SBD.title}: download it again."
            )
    train = [_entry(name, "fine") for name in lists.fine]
    train += [_entry(name, "coarse") for name in lists.coarse]
    records.write_dataset(
        final,
        name="pascal",
        description="PASCAL VOC 2012 segmentation; training masks of SBD where VOC has none.",
        encoding="jpeg",
        splits={
            "train": sorted(train, key=lambda entry: entry.key),
            "validation": [_entry(name, "fine") for name in lists.val],
        },
        read_image=lambda entry: voc.read(entry.key),
        masks=masks,
    )


def _entry(name: str, kind: str) -> records.Entry:
    return records.Entry(
        key=f"JPEGImages/{name}.jpg",
        label=f"SegmentationClass/{name}.png",
        mask=name,
        kind=kind,
    )


def _decode_palette(name: str, data: bytes) -> np.ndarray:
    """VOC's masks: palette PNG whose indices are the ids; uint8 [H, W]."""
    file = f"SegmentationClass/{name}.png"
    return _checked(dataset.read_png(data, file, VOC, "P", "a palette"), file, VOC)


def _decode_mat(readers: MatReaders, name: str, data: bytes) -> np.ndarray:
    """SBD's masks: field Segmentation of the struct GTcls; uint8 [H, W]."""
    try:
        ids = readers.read_field(data, "GTcls", "Segmentation")
    except ValueError as error:
        raise DataError(
            f"cls/{name}.mat: holds no GTcls.Segmentation that can be read ({error}). "
            f"Download {SBD.file} again."
        ) from None
    return _checked(ids, f"cls/{name}.mat", SBD)


def _checked(ids: np.ndarray, file: str, wanted: archives.Wanted) -> np.ndarray:
    if ids.dtype != np.uint8 or ids.ndim != 2:
        raise DataError(
            f"{file}: {ids.dtype} of shape {ids.shape}, expected 8-bit ids [height, width] as "
            f"in {wanted.file}."
        )
    bad = ids[(ids >= NUM_CLASSES) & (ids != IGNORE)]
    if bad.size:
        raise DataError(
            f"{file}: id {bad[0]}, expected 0-{NUM_CLASSES - 1} and {IGNORE} as in {wanted.file}."
        )
    return ids
