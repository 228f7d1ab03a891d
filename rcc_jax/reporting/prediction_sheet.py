"""The sheet of validation images that an evaluation draws, and that a report cuts apart again."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rcc_jax.reporting import heat_map, sheets

TITLES = ("image", "truth", "prediction", "confidence")
# Of before there was a confidence: its titles, and nothing behind the classes in its legend.
_OLD_TITLES = TITLES[:3]


@dataclasses.dataclass
class Pictures:
    """What a sheet holds, cut apart.

    Attributes:
        rows: Image, truth and prediction of each validation image, uint8 [H, W, 3].
        colors: Of the classes, uint8 [K, 3].
    """

    rows: list[list[np.ndarray]]
    colors: np.ndarray


def draw(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    confidences: Sequence[np.ndarray],
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
) -> np.ndarray:
    """Draws a row an image.

    Args:
        images: uint8 [H, W, 3] each.
        truths, predictions: Ids, uint8 [H, W].
        confidences: Probability of the prediction, float [H, W].
        class_names: K names.
        palette: Colours of the ids, uint8 [256, 3].

    Returns:
        uint8 [H, W, 3].
    """
    rows = [
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
    return sheets.sheet(rows, TITLES, **sheets.legend(class_names, palette, _more_entries()))


def cut(sheet: np.ndarray, num_rows: int, class_names: Sequence[str]) -> Pictures | None:
    """What a sheet was made of; None where its images are of several sizes.

    Args:
        sheet: uint8 [H, W, 3].
        num_rows: Number of images.
        class_names: K names.
    """
    for titles, more in ((TITLES, tuple(_more_entries())), (_OLD_TITLES, ())):
        names = (*class_names, *more)
        rows = sheets.cut_sheet(sheet, num_rows, titles, names)
        if rows is not None:
            colors = sheets.legend_colors(sheet, names)[: len(class_names)]
            return Pictures([row[:3] for row in rows], colors)
    return None


def _more_entries() -> dict[str, np.ndarray]:
    return {"ignored": sheets.IGNORED_COLOR, **heat_map.scale("confidence ")}
