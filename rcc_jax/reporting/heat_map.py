"""Numbers as colours: tables of pairs of classes, and one value per pixel."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from rcc_jax.reporting import figures

# In points.
CELL, SMALL_CELL, LETTER, TEXT_SIZE = 30, 6, 6, 9
# With more classes than this, cells are too small for numbers.
MAX_NUMBERED = 40


@dataclasses.dataclass(frozen=True)
class Table:
    """A number for each pair of classes.

    Attributes:
        title: What it shows.
        values: [K, K]; cells that are nan stay empty.
        low, high: The ends of the colour scale.
        signed: Colours run from blue over white to red instead of from dark to bright.
    """

    title: str
    values: np.ndarray
    low: float
    high: float
    signed: bool = False


def colors_of(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Colours of numbers, from dark to bright.

    Args:
        values: [...]; those that are not finite become white.
        low: This value and all below get the scale's first colour.
        high: This value and all above get the scale's last colour.

    Returns:
        uint8 [..., 3].
    """
    place = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-9), 0, 1)
    levels = np.rint(255 * place).astype(np.uint8).reshape(-1, 1)
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1]
    colors = colors.reshape(*np.shape(values), 3)
    return np.where(np.isfinite(values)[..., None], colors, np.uint8(255))


def shades(shares: np.ndarray) -> np.ndarray:
    """Colours of numbers from 0 to 1, such as probabilities: [...] to uint8 [..., 3]."""
    return colors_of(shares, 0, 1)


def scale(prefix: str = "") -> dict[str, np.ndarray]:
    """Legend entries for `shades`: name and colour. The first name begins with the prefix."""
    names = (f"{prefix}0", "0.5", "1")
    return dict(zip(names, shades(np.array([0, 0.5, 1])), strict=True))


def draw(tables: Sequence[Table], names: Sequence[str]) -> str:
    """Draws tables side by side, with the names of the classes and a colour scale for each.

    Args:
        tables: Tables [K, K].
        names: K names.

    Returns:
        The text of an SVG file.
    """
    cell = CELL if len(names) <= MAX_NUMBERED else SMALL_CELL
    side = cell * len(names) + LETTER * max(map(len, names))

    def plot(figure) -> None:
        places = figure.subplots(1, len(tables), squeeze=False)[0]
        for axes, table in zip(places, tables, strict=True):
            _plot(figure, axes, table, names)

    drawn = figures.draw(plot, len(tables) * (side + 70), side + 40, name="tables")
    return figures.standalone(drawn)


def _plot(figure, axes, table: Table, names: Sequence[str]) -> None:
    numbered = len(names) <= MAX_NUMBERED
    image = axes.imshow(
        table.values,
        cmap="bwr" if table.signed else "viridis",
        vmin=table.low,
        vmax=table.high,
        interpolation="none",
    )
    axes.set_title(table.title, fontsize=TEXT_SIZE + 2)
    places = range(len(names))
    size = TEXT_SIZE if numbered else SMALL_CELL
    axes.set_xticks(places, names, rotation=90, fontsize=size)
    axes.set_yticks(places, names, fontsize=size)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    figure.colorbar(image, ax=axes, shrink=0.8)
    if not numbered:
        return
    for (row, column), value in np.ndenumerate(table.values):
        if np.isfinite(value):
            brightness = np.dot(image.cmap(image.norm(value))[:3], [0.299, 0.587, 0.114])
            text = f"{round(float(value), 2) + 0.0:.2f}"  # Adding 0 turns -0 into 0.
            color = "black" if brightness > 0.5 else "white"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=TEXT_SIZE)
