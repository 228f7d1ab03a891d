"""Validation images with truth and prediction: the sheet of an evaluation, and its panels.

Every evaluation adds a sheet `step_STEP.png`. The panels of the newest one are kept beside it, one
file each, in a folder `step_STEP`: a report compares them between runs.
"""

import pathlib
import re
import shutil
from collections.abc import Sequence

import numpy as np

from rcc_jax.reporting import heat_map, sheets

TITLES = ("image", "truth", "prediction", "confidence")
# What a report compares.
SAVED = TITLES[:3]
_FOLDER = re.compile(r"step_\d+")


def panels(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    confidences: Sequence[np.ndarray],
    palette: np.ndarray,
) -> list[list[np.ndarray]]:
    """Draws each image with its truth, prediction and confidence.

    Args:
        images: uint8 [H, W, 3] each.
        truths: True ids, uint8 [H, W].
        predictions: Predicted ids, uint8 [H, W].
        confidences: Probability of the prediction, float [H, W].
        palette: Colours of the ids, uint8 [256, 3].

    Returns:
        For each image the pictures that TITLES names, uint8 [H, W, 3].
    """
    return [
        [
            image,
            sheets.colorize(truth, palette),
            sheets.colorize(prediction, palette),
            heat_map.shades(confidence),
        ]
        for image, truth, prediction, confidence in zip(
            images, truths, predictions, confidences, strict=True
        )
    ]


def sheet(
    rows: Sequence[Sequence[np.ndarray]], class_names: Sequence[str], palette: np.ndarray
) -> np.ndarray:
    """Lays panels out with a legend.

    Args:
        rows: From `panels`.
        class_names: K names.
        palette: Colours of the ids, uint8 [256, 3].

    Returns:
        uint8 [H, W, 3].
    """
    more = {"ignored": sheets.IGNORED_COLOR, **heat_map.scale("confidence ")}
    return sheets.sheet(rows, TITLES, **sheets.legend(class_names, palette, more))


def save(path: pathlib.Path, rows: Sequence[Sequence[np.ndarray]], drawn: np.ndarray) -> None:
    """Writes a sheet and its panels, and removes the panels of earlier sheets.

    Args:
        path: File of the sheet, `step_STEP.png`.
        rows: From `panels`.
        drawn: From `sheet`.
    """
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    written = set()
    for number, row in enumerate(rows):
        for name, picture in zip(SAVED, row, strict=False):
            file = _file(folder, number, name)
            sheets.save_png(file, picture)
            written.add(file)
    # Only now: the newest sheet has its panels, whenever the run is killed.
    sheets.save_png(path, drawn)
    for file in set(folder.iterdir()) - written:
        if file.is_file():
            file.unlink()
    for other in path.parent.iterdir():
        if other != folder and other.is_dir() and _FOLDER.fullmatch(other.name):
            shutil.rmtree(other)


def saved(path: pathlib.Path) -> list[list[pathlib.Path]]:
    """Files of a sheet's panels, for each image those in SAVED; empty if none were kept."""
    rows = []
    while (file := _file(path.with_suffix(""), len(rows), SAVED[0])).exists():
        rows.append([file, *(_file(file.parent, len(rows), name) for name in SAVED[1:])])
    return rows


def _file(folder: pathlib.Path, number: int, name: str) -> pathlib.Path:
    return folder / f"{number}_{name}.png"
