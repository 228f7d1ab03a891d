"""Numbers as colours: tables of pairs of classes, and values of pixels."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

TEXT_SIZE, GAP = 11, 4
CELL, SMALL_CELL = 42, 10
# Numbers are written into the cells of up to so many classes.
MAX_NUMBERED = 40


def colors_of(values: np.ndarray, low: float, high: float, *, signed: bool = False) -> np.ndarray:
    """Colours of numbers.

    Args:
        values: [...]; what is not finite becomes white.
        low: The value of the scale's first colour, and of all below.
        high: The value of the scale's last colour, and of all above.
        signed: Blue below 0 and red above, instead of dark to bright.

    Returns:
        uint8 [..., 3].
    """
    place = (np.nan_to_num(values) - low) / max(high - low, 1e-9)
    place = np.clip(place, 0, 1)
    if signed:
        strength = np.rint(255 * (1 - np.abs(2 * place - 1))).astype(np.uint8)
        full = np.full_like(strength, 255)
        above = place >= 0.5
        colors = np.stack(
            [np.where(above, full, strength), strength, np.where(above, strength, full)], axis=-1
        )
    else:
        levels = np.rint(255 * place).astype(np.uint8).reshape(-1, 1)
        colors = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1]
        colors = colors.reshape(*values.shape, 3)
    return np.where(np.isfinite(values)[..., None], colors, np.uint8(255))


def shades(shares: np.ndarray) -> np.ndarray:
    """Colours of numbers from 0 to 1, such as probabilities; [...] to uint8 [..., 3]."""
    return colors_of(shares, 0, 1)


def scale(prefix: str = "") -> dict[str, np.ndarray]:
    """Entries of a legend for `shades`: name and colour, the prefix before the first one."""
    names = (f"{prefix}0", "0.5", "1")
    return dict(zip(names, shades(np.array([0, 0.5, 1])), strict=True))


def heat_map(
    values: np.ndarray,
    names: Sequence[str],
    *,
    low: float,
    high: float,
    signed: bool = False,
) -> np.ndarray:
    """Draws a table [K, K] with a coloured cell a pair.

    Args:
        values: [K, K]; cells that are nan stay empty.
        names: K names.
        low: See `colors_of`.
        high: See `colors_of`.
        signed: See `colors_of`.

    Returns:
        uint8 [H, W, 3].
    """
    font = ImageFont.load_default(TEXT_SIZE)
    numbered = len(names) <= MAX_NUMBERED
    cell = CELL if numbered else SMALL_CELL
    edge = max(int(font.getlength(name)) for name in names) + 2 * GAP
    side = edge + cell * len(names) + GAP
    canvas = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(canvas)
    colors = colors_of(values, low, high, signed=signed)
    middle = (cell - TEXT_SIZE) // 2 - 1
    for row, name in enumerate(names):
        top = edge + cell * row
        draw.text((GAP, top + middle), name, fill="black", font=font)
        # Column names stand: written on a strip of their own that is then turned.
        strip = Image.new("RGB", (edge - GAP, cell), "white")
        ImageDraw.Draw(strip).text((0, middle), name, fill="black", font=font)
        canvas.paste(strip.rotate(90, expand=True), (top, GAP))
        for column in range(len(names)):
            _draw_cell(
                draw,
                (edge + cell * column, top),
                cell,
                values[row, column],
                colors[row, column],
                font if numbered else None,
            )
    return np.asarray(canvas)


def _draw_cell(draw, corner, cell, value, color, font) -> None:
    left, top = corner
    draw.rectangle(
        (left, top, left + cell - 1, top + cell - 1), fill=tuple(color.tolist()), outline="#dddddd"
    )
    if font is None or not np.isfinite(value):
        return
    text = f"{round(float(value), 2) + 0.0:.2f}"  # Adding 0 makes -0 a 0.
    brightness = color @ np.array([0.299, 0.587, 0.114])
    draw.text(
        (left + (cell - font.getlength(text)) / 2, top + (cell - TEXT_SIZE) // 2 - 1),
        text,
        fill="black" if brightness > 128 else "white",
        font=font,
    )
