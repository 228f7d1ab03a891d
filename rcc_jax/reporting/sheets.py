"""Pictures of labels: colours by class, sheets with titles and a legend."""

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
# Side of the square pictures that `fit` makes, pixels.
SIDE = 200
# No class has this grey, nor white.
UNUSED, IGNORED_COLOR = (224, 224, 192), (255, 255, 255)
# What legends show for `pale`.
PALE = (192, 192, 192)


def palette(num_classes: int) -> np.ndarray:
    """The colours of PASCAL VOC for K classes.

    Args:
        num_classes: K, at most 255; ids from K on are grey.

    Returns:
        Colours [256, 3] as uint8; 255, which is ignored, is white.
    """
    colors = voc_colors()
    colors[num_classes:] = UNUSED
    colors[255] = IGNORED_COLOR
    return colors


# For `sheet`, whose argument hides the name.
_default_palette = palette


def colorize(label: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Turns labels [H, W] of 0 to 255 into a picture [H, W, 3] with the colours of a `palette`."""
    return palette[label]


def pale(images: np.ndarray) -> np.ndarray:
    """A light grey shadow of images [..., 3], on which the colours of classes stand out; uint8."""
    grey = images.mean(axis=-1, keepdims=True) // 4 + 160
    return np.repeat(grey.astype(np.uint8), 3, axis=-1)


def fit(picture: np.ndarray, interpolation: int) -> np.ndarray:
    """Resizes a square picture to SIDE; one that grows keeps its pixels as squares.

    Args:
        picture: [S, S] or [S, S, 3] of uint8.
        interpolation: OpenCV's, where it shrinks: INTER_NEAREST keeps the colours of classes.
    """
    if len(picture) < SIDE:
        interpolation = cv2.INTER_NEAREST
    return cv2.resize(picture, (SIDE, SIDE), interpolation=interpolation)


def legend(
    class_names: Sequence[str], palette: np.ndarray, more: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Arguments of `sheet` for a legend of K classes and of what else is in the pictures.

    Args:
        class_names: K names.
        palette: Their colours, uint8 [K or more, 3].
        more: Further names with their colours.
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
    """Lays pictures out as a table with a title over each column and a legend under it.

    Args:
        rows: Pictures [H, W, 3] as uint8, as many in each row as there are titles.
        titles: One a column.
        class_names: K names for the legend; none leaves it out.
        palette: Colours of the legend, K or more; those of `palette(K)` by default.
        groups: Headings over the titles, each with the number of columns that it is of.
        scale: Each pixel becomes a square of this side.

    Returns:
        The sheet [H, W, 3] as uint8.

    Raises:
        ValueError: If a row has another number of pictures than there are titles.
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
    """Headings in the first line, each with a rule under it over all of its columns."""
    column = 0
    for heading, count in groups:
        left, right = int(lefts[column]), int(lefts[column + count]) - 2 * GAP
        if heading:
            draw.text((left, 0), heading, fill="black", font=font)
            draw.line((left, LINE - 1, right, LINE - 1), fill="black")
        column += count


def cut_sheet(
    picture: np.ndarray, num_rows: int, titles: Sequence[str], class_names: Sequence[str] = ()
) -> list[list[np.ndarray]] | None:
    """The pictures of a `sheet` whose pictures are of one size; None if they are not.

    Args:
        picture: The sheet [H, W, 3].
        num_rows: Its rows.
        titles, class_names: What it was made with.
    """
    font = ImageFont.load_default(TEXT_SIZE)
    width, rest_x = divmod(picture.shape[1] - GAP, len(titles))
    width -= GAP
    top = LINE + GAP
    _, bottom = _legend_places(class_names, font, picture.shape[1], 0)
    height, rest_y = divmod(picture.shape[0] - top - bottom, num_rows)
    height -= GAP
    needed = max(int(font.getlength(title)) + 1 for title in titles)
    if rest_x or rest_y or width < needed or height < 1:
        return None
    rows = [
        [picture[y : y + height, x : x + width] for x in range(GAP, picture.shape[1], width + GAP)]
        for y in range(top, top + num_rows * (height + GAP), height + GAP)
    ]
    gaps = picture.copy()
    for y in range(top, top + num_rows * (height + GAP), height + GAP):
        for x in range(GAP, picture.shape[1], width + GAP):
            gaps[y : y + height, x : x + width] = 255
    # Pictures of several sizes would stick out of the places of pictures of one size.
    return rows if (gaps[top : picture.shape[0] - bottom] == 255).all() else None


def legend_colors(picture: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Colours of the entries in the legend of a `sheet`, uint8 [K, 3].

    Args:
        picture: The sheet [H, W, 3].
        class_names: What it was made with.
    """
    font = ImageFont.load_default(TEXT_SIZE)
    places, bottom = _legend_places(class_names, font, picture.shape[1], 0)
    middle, top = TEXT_SIZE // 2, picture.shape[0] - bottom + 2
    return np.array([picture[top + y + middle, x + middle] for x, y in places], np.uint8)


def _legend_places(
    names: Sequence[str], font: ImageFont.ImageFont, width: int, top: int
) -> tuple[list[tuple[int, int]], int]:
    """Corners of the entries, broken into lines of at most `width`, and where the legend ends."""
    places, left, top = [], GAP, int(top)
    for name in names:
        needed = LINE + int(font.getlength(name)) + 3 * GAP
        if left > GAP and left + needed > width:
            left, top = GAP, top + LINE
        places.append((left, top))
        left += needed
    return places, top + LINE if names else top


def save_png(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Writes a picture, [H, W] or [H, W, 3] of uint8, whole or not at all."""
    write_atomically(path, encode(picture, "PNG"))


def encode(picture: np.ndarray, format: str) -> bytes:
    """The bytes of a file with a picture, [H, W] or [H, W, 3] of uint8; 'PNG' or 'JPEG'."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format=format, quality=90)
    return file.getvalue()
