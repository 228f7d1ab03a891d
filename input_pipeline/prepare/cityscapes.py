"""Cityscapes with fine masks: 2,975 training and 500 validation images, 19 classes."""

import os

import cv2
import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.prepare import archives, dataset, records
from input_pipeline.prepare.archives import Archive
from input_pipeline.prepare.dataset import Options
from input_pipeline.prepare.masks import MaskFolder
from input_pipeline.sources.labels import IGNORE

# The name `cityscapes` belongs to a dataset of TFDS with other features.
NAME = "cityscapes_fine"
COUNTS = {"train": 2975, "val": 500}

# labelId of each of the 19 classes, in the order of their trainId: road, sidewalk, building, wall,
# fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, rider, car, truck,
# bus, train, motorcycle, bicycle.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
NUM_LABEL_IDS = 34
# -1, the licence plate, is stored as 255.
_KNOWN = np.isin(np.arange(256), [*range(NUM_LABEL_IDS), IGNORE])
_TRAIN_IDS = np.full(256, IGNORE, np.uint8)
_TRAIN_IDS[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))

_IMAGE, _LABEL, _TRAIN_LABEL = (
    "_leftImg8bit.png", "_gtFine_labelIds.png", "_gtFine_labelTrainIds.png",
)  # fmt: skip
IMAGES = archives.Wanted(
    title="Cityscapes, left 8-bit images",
    file="leftImg8bit_trainvaltest.zip",
    pattern="leftImg8bit*.zip",
    root="leftImg8bit",
    folders=("leftImg8bit", "."),
    contents="train",
)
LABELS = archives.Wanted(
    title="Cityscapes, fine annotations",
    file="gtFine_trainvaltest.zip",
    pattern="gt*.zip",
    root="gtFine",
    folders=("gtFine",),
    contents="train",
)


def _make(final: str, images: Archive, labels: Archive, masks: MaskFolder, options: Options) -> str:
    names = {split: _names(images, labels, split) for split in COUNTS}
    if not options.allow_counts:
        _check_counts(names, labels)
    _convert(labels, [*names["train"], *names["val"]], masks, options.num_threads)
    _write(final, names, images, masks)
    return f"{len(names['train'])} training images, {len(names['val'])} validation images."


RECIPE = dataset.Recipe(NAME, (IMAGES, LABELS), _make)


def _check_counts(names: dict[str, list[str]], labels: Archive) -> None:
    for split, expected in COUNTS.items():
        if len(names[split]) != expected:
            raise DataError(
                f"{labels.path}: {len(names[split])} masks *{_LABEL} in gtFine/{split}, expected "
                f"{expected}. Take the official archives, or add --allow_counts if it is "
                "meant to be so."
            )


def _names(images: Archive, labels: Archive, split: str) -> list[str]:
    """'train/CITY/CITY_SEQUENCE_FRAME' of every labelled image, which must be there."""
    found = {
        kind: {
            name.removesuffix(suffix)
            for name in archive.names()
            if name.startswith(f"{split}/") and name.endswith(suffix)
        }
        for kind, archive, suffix in (("image", images, _IMAGE), ("label", labels, _LABEL))
    }
    if not found["label"]:
        raise DataError(
            f"{labels.path}: no file gtFine/{split}/*/*{_LABEL}. Expected {LABELS.file}."
        )
    missing = sorted(found["label"] - found["image"])
    if missing:
        raise DataError(
            f"{images.path}: no image {missing[0]}{_IMAGE}, of which {labels.path} has a mask "
            f"({len(missing)} such). Expected {IMAGES.file}."
        )
    return sorted(found["label"])


def _convert(labels, names: list[str], masks: MaskFolder, num_threads: int) -> None:
    missing = [name for name in names if os.path.basename(name) not in masks]
    masks.convert(
        ((os.path.basename(name), labels.read(f"{name}{_LABEL}")) for name in missing),
        _decode,
        total=len(missing),
        title="Cityscapes masks",
        num_threads=num_threads,
    )


def _write(final: str, names: dict[str, list[str]], images, masks: MaskFolder) -> None:
    records.write_dataset(
        final,
        name=NAME,
        description="Cityscapes: left images with fine masks of the 19 training classes.",
        encoding="png",
        splits={
            "train": [_entry(name) for name in names["train"]],
            "validation": [_entry(name) for name in names["val"]],
        },
        read_image=lambda entry: images.read(entry.key.removeprefix("leftImg8bit/")),
        masks=masks,
    )


def _entry(name: str) -> records.Entry:
    return records.Entry(
        key=f"leftImg8bit/{name}{_IMAGE}",
        label=f"gtFine/{name}{_TRAIN_LABEL}",
        mask=os.path.basename(name),
    )


def _decode(name: str, data: bytes) -> np.ndarray:
    """Label ids to train ids, everything else to 255; uint8 [H, W]."""
    file = f"{name}{_LABEL}"
    ids = dataset.read_png(data, file, LABELS, "L", "8-bit grey")
    used = np.bincount(ids.ravel(), minlength=256) > 0
    unknown = np.flatnonzero(used & ~_KNOWN)
    if unknown.size:
        raise DataError(
            f"{file}: id {unknown[0]}, expected 0-{NUM_LABEL_IDS - 1} and {IGNORE} as in "
            f"{LABELS.file}."
        )
    return cv2.LUT(ids, _TRAIN_IDS)
