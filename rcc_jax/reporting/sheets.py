"""Pictures of labels: colours of classes, sheets with titles and a legend."""

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from input_pipeline.files import write_atomically
from input_pipeline.sources.labels import voc_colors

TEXT_SIZE, LINE, GAP = 13, 19, 4
# Side of the square pictures that `fit` makes, in pixels.
SIDE = 200
# No class is drawn in either of these.
UNUSED, IGNORED_COLOR = (224, 224, 192), (255, 255, 255)
# Stands for `pale` in legends.
PALE = (192, 192, 192)


def palette(num_classes: int) -> np.ndarray:
    """PASCAL VOC's colours: ids that differ in few bits look different.

    Args:
        num_classes: K, at most 255; ids from K on are grey.

    Returns:
        uint8 [256, 3]; 255, which is ignored, is white.
    """
    colors = voc_colors()
    colors[num_classes:] = UNUSED
    colors[255] = IGNORED_COLOR
    return colors


# `sheet` has an argument that is called `palette`.
_default_palette = palette


def colorize(label: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The picture [H, W, 3] of labels [H, W] from 0 to 255, in the colours of a palette."""
    return palette[label]


def pale(images: np.ndarray) -> np.ndarray:
    """Images [..., 3] in light grey, on which the colours of classes stand out; uint8."""
    grey = images.mean(axis=-1, keepdims=True) // 4 + 160
    return np.repeat(grey.astype(np.uint8), 3, axis=-1)


def fit(picture: np.ndarray, interpolation: int) -> np.ndarray:
    """Resizes a square picture to SIDE. Enlarged pixels stay squares.

    Args:
        picture: [S, S] or [S, S, 3] of uint8.
        interpolation: OpenCV's method for shrinking; INTER_NEAREST keeps the colours of classes.
    """
    if len(picture) < SIDE:
        interpolation = cv2.INTER_NEAREST
    return cv2.resize(picture, (SIDE, SIDE), interpolation=interpolation)


def legend(
    class_names: Sequence[str], palette: np.ndarray, more: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Arguments of `sheet` for a legend of K classes and further entries.

    Args:
        class_names: K names.
        palette: Their colours, uint8 [K or more, 3].
        more: Colours of the further entries by name.
    """
    colors = [*palette[: len(class_names)], *more.values()]
    return {"class_names": (*class_names, *more), "palette": np.array(colors, np.uint8)}


def sheet(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    *,
    class_names: Sequence[str] = (),
    palette: np.ndarray | None = None,
    groups: Sequence[tuple[str, int]] = (),
    scale: int = 1,
) -> np.ndarray:
    """Lays pictures out as a table, with a title above each column and a legend below.

    Args:
        rows: Rows of pictures [H, W, 3], uint8; each row has a picture per title.
        titles: One title per column.
        class_names: K names for the legend; without names there is none.
        palette: At least K colours of the legend; by default those of `palette(K)`.
        groups: Headings above the titles, each with the number of columns it spans.
        scale: Side of the square that each pixel becomes.

    Returns:
        The sheet, uint8 [H, W, 3].

    Raises:
        ValueError: The number of pictures in a row is not the number of titles.
    """
    for index, row in enumerate(rows):
        if len(row) != len(titles):
            raise ValueError(f"row {index} has {len(row)} pictures for {len(titles)} titles")
    rows = [[image.repeat(scale, axis=0).repeat(scale, axis=1) for image in row] for row in rows]
    font = ImageFont.load_default(TEXT_SIZE)
    widths = [
        max(int(font.getlength(title)) + 1, *(row[column].shape[1] for row in rows))
        for column, title in enumerate(titles)
    ]
    heights = [max(image.shape[0] for image in row) for row in rows]
    lefts = np.cumsum([GAP, *(width + GAP for width in widths)])
    title_top = LINE if groups else 0
    tops = np.cumsum([title_top + LINE + GAP, *(height + GAP for height in heights)])
    entries, bottom = _legend_places(class_names, font, lefts[-1], tops[-1])
    canvas = Image.new("RGB", (int(lefts[-1]), int(bottom)), "white")
    draw = ImageDraw.Draw(canvas)
    for title, left in zip(titles, lefts[:-1], strict=True):
        draw.text((left, title_top + 2), title, fill="black", font=font)
    _draw_groups(draw, groups, lefts, font)
    for row, top in zip(rows, tops[:-1], strict=True):
        for image, left in zip(row, lefts[:-1], strict=True):
            canvas.paste(Image.fromarray(image), (int(left), int(top)))
    colors = _default_palette(len(class_names)) if palette is None else palette
    for index, (name, (left, top)) in enumerate(zip(class_names, entries, strict=True)):
        square = (left, top + 2, left + TEXT_SIZE, top + 2 + TEXT_SIZE)
        draw.rectangle(square, fill=tuple(colors[index].tolist()), outline="black")
        draw.text((left + LINE, top), name, fill="black", font=font)
    return np.asarray(canvas)


def _draw_groups(draw, groups: Sequence[tuple[str, int]], lefts: np.ndarray, font) -> None:
    """Draws headings in the first line, each underlined across its columns."""
    column = 0
    for heading, count in groups:
        left, right = int(lefts[column]), int(lefts[column + count]) - 2 * GAP
        if heading:
            draw.text((left, 0), heading, fill="black", font=font)
            draw.line((left, LINE - 1, right, LINE - 1), fill="black")
        column += count


def _legend_places(
    names: Sequence[str], font: ImageFont.ImageFont, width: int, top: int
) -> tuple[list[tuple[int, int]], int]:
    """Corners of the entries, in lines of at most `width`, and the bottom of the legend."""
    places, left, top = [], GAP, int(top)
    for name in names:
        needed = LINE + int(font.getlength(name)) + 3 * GAP
        if left > GAP and left + needed > width:
            left, top = GAP, top + LINE
        places.append((left, top))
        left += needed
    return places, top + LINE if names else top


def save_png(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Writes a picture, uint8 [H, W] or [H, W, 3], atomically."""
    write_atomically(path, encode(picture, "PNG"))


def encode(picture: np.ndarray, format: str) -> bytes:
    """Encodes a picture, uint8 [H, W] or [H, W, 3], as 'PNG' or 'JPEG'."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format=format, quality=90)
    return file.getvalue()
