"""The pictures of a report: predictions of several runs side by side, unlabelled images."""

import base64
import dataclasses
import html
import io
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, features

from rcc_jax.errors import ConfigError
from rcc_jax.reporting import html_page as page
from rcc_jax.reporting import palettes, prediction_sheet, sheets
from rcc_jax.reporting.run_record import RunRecord

# In pixels. Wider pictures would make a page of many megabytes; sheets have titles to be read.
MAX_WIDTH, MAX_SHEET_WIDTH = 640, 1200
SHEET_QUALITY = 75
_ABOUT_UNLABELED = (
    "One row per image; runs with the same crop size show the same views. Teacher: the classes it "
    "predicts in the weak view. Confidence: the probability it gives them, from dark (0) to bright "
    "(1). Kept: the pixels confident enough to count as pseudo labels, in the colours of their "
    "classes, all others in grey; the percentage is over these views. Student: the classes it "
    "predicts in the strong view. Agreement: the share of comparisons between pairs of the "
    "teacher's most likely classes that both networks decide alike; unrelated networks would have "
    "0.5."
)


@dataclasses.dataclass
class Example:
    """An image, its truth, and the predictions of several runs."""

    image: np.ndarray
    truth: np.ndarray
    predictions: list[tuple[RunRecord, np.ndarray]]


def predictions(cells: dict[str, list[RunRecord]], classes: Sequence[str]) -> str:
    """Markup with images, truth and predictions of the first run with pictures in each cell.

    Args:
        cells: Runs that differ only in the seed, by name.
        classes: K names.

    Raises:
        ConfigError: A picture is corrupt.
    """
    shown = [next((run for run in runs if run.picture), None) for runs in cells.values()]
    examples, whole, palette = _examples([run for run in shown if run])
    if not examples and not whole:
        return "<p>These runs have no pictures (eval.pictures).</p>\n"
    parts = []
    if examples:
        entries = [*zip(classes, palette, strict=False), ("ignored", sheets.IGNORED_COLOR)]
        legend = "".join(
            f'<li><span class="swatch" style="background:#{bytes(color).hex()}"></span>'
            f"{html.escape(name)}</li>"
            for name, color in entries
        )
        parts.append(f'<ul class="legend">{legend}</ul>\n')
    for number, example in enumerate(examples, start=1):
        row = [_picture(example.image, "image", f"validation image {number}", photo=True)]
        row.append(_picture(example.truth, "truth", f"true classes of image {number}"))
        for run, prediction in example.predictions:
            alt = f"classes of image {number} predicted by {run.name}"
            row.append(_picture(prediction, _caption(run, run.picture), alt))
        parts.append(f'<div class="row">{"".join(row)}</div>\n')
    for run in whole:
        alt = f"images, truth and predictions of {run.name}"
        parts.append(_sheet(run, run.picture, alt))
    return "".join(parts)


def unlabeled(cells: dict[str, list[RunRecord]]) -> str:
    """Markup with the newest sheet of unlabelled images of each run; further seeds are folded.

    Args:
        cells: Runs that differ only in the seed, by name.

    Raises:
        ConfigError: A picture is corrupt.
    """
    parts, more = [], []
    for runs in cells.values():
        shown = [run for run in runs if run.unlabeled]
        for run in shown:
            drawn = _sheet(run, run.unlabeled, f"unlabelled images as {run.name} sees them")
            (parts if run is shown[0] else more).append(drawn)
    if not parts:
        return ""
    others = page.details("Other seeds", "".join(more)) if more else ""
    return page.heading(3, "What the method sees in unlabelled images") + (
        f"<p>{html.escape(_ABOUT_UNLABELED)}</p>\n" + "".join(parts) + others
    )


def _examples(
    runs: Sequence[RunRecord],
) -> tuple[list[Example], list[RunRecord], np.ndarray | None]:
    """Groups the panels of all runs by image.

    Returns:
        The examples, the runs whose sheets are to be shown whole, and the colours of the classes.
        A sheet is shown whole if its panels were not saved, as in runs of earlier versions, or have
        other colours than the previous ones, because all examples share one legend.
    """
    found: dict[bytes, Example] = {}
    whole, palette = [], None
    for run in runs:
        rows = prediction_sheet.saved(run.picture)
        colors = palettes.of_data(run.config["data"]) if rows else None
        if not rows or (palette is not None and (colors != palette).any()):
            whole.append(run)
            continue
        palette = colors
        for paths in rows:
            image, truth, prediction = map(_open, paths)
            key = image.tobytes() + truth.tobytes()
            found.setdefault(key, Example(image, truth, [])).predictions.append((run, prediction))
    return list(found.values()), whole, palette


def _open(path: pathlib.Path) -> np.ndarray:
    try:
        with Image.open(path) as file:
            return np.asarray(file.convert("RGB"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is corrupt ({error}).") from None


def _caption(run: RunRecord, picture: pathlib.Path) -> str:
    step = int(picture.stem.rpartition("_")[2])
    return f"{run.cell} (seed {run.config['seed']}, step {step})"


def _picture(picture: np.ndarray, caption: str, alt: str, *, photo: bool = False) -> str:
    if photo:  # JPEG is smaller for photographs.
        uri = _data_uri(_narrowed(picture, MAX_WIDTH, Image.Resampling.LANCZOS), "JPEG", 90)
    else:
        uri = _data_uri(_narrowed(picture, MAX_WIDTH, Image.Resampling.NEAREST), "PNG", 90)
    return page.figure(page.image(uri, alt, picture.shape[1], picture.shape[0]), caption)


def _sheet(run: RunRecord, path: pathlib.Path, alt: str) -> str:
    sheet = _open(path)
    # Half the size of JPEG, but some builds of Pillow lack it.
    format = "WEBP" if features.check("webp") else "JPEG"
    narrowed = _narrowed(sheet, MAX_SHEET_WIDTH, Image.Resampling.LANCZOS)
    uri = _data_uri(narrowed, format, SHEET_QUALITY)
    drawn = page.scrolling(page.image(uri, alt, sheet.shape[1], sheet.shape[0]), alt)
    return f'<div class="sheet">{page.figure(drawn, f"{run.name}: {_caption(run, path)}")}</div>\n'


def _narrowed(picture: np.ndarray, width: int, how: Image.Resampling) -> Image.Image:
    image = Image.fromarray(picture)
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), how)
    return image


def _data_uri(image: Image.Image, format: str, quality: int) -> str:
    file = io.BytesIO()
    image.save(file, format=format, quality=quality)
    content = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{format.lower()};base64,{content}"
