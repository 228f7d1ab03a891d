"""Predictions of several runs on the same images, side by side."""

import base64
import dataclasses
import io
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, features

from rcc_jax.errors import ConfigError
from rcc_jax.reporting import prediction_sheet
from rcc_jax.reporting.run_record import RunRecord

# Larger ones would make a page of many megabytes. A whole sheet has titles to be read.
MAX_WIDTH, MAX_SHEET_WIDTH = 640, 1200
SHEET_QUALITY = 75


@dataclasses.dataclass
class Example:
    """An image, its truth and predictions by the run they are of."""

    image: np.ndarray
    truth: np.ndarray
    predictions: list[tuple[RunRecord, np.ndarray]]


@dataclasses.dataclass
class Found:
    """The predictions of several runs.

    Attributes:
        examples: Images that sheets could be cut apart into.
        whole: Sheets of runs that could not, such as those of images of several sizes.
        colors: Of the classes in the examples, uint8 [K, 3]; None without one.
    """

    examples: list[Example]
    whole: list[tuple[RunRecord, np.ndarray]]
    colors: np.ndarray | None


def find_examples(runs: Sequence[RunRecord], class_names: Sequence[str]) -> Found:
    """Cuts the sheets of runs apart and joins what shows the same image.

    Args:
        runs: The runs; those without a sheet are left out.
        class_names: Names in the legends of the sheets.

    Raises:
        ConfigError: For a picture that cannot be read.
    """
    found: dict[bytes, Example] = {}
    whole, colors = [], None
    for run in runs:
        if run.picture is None:
            continue
        sheet = open_picture(run.picture)
        count = min(run.config["eval"]["pictures"], run.counts.get("val", 0))
        pictures = prediction_sheet.cut(sheet, count, class_names) if count else None
        # One legend is for all of them.
        if pictures is None or (colors is not None and (pictures.colors != colors).any()):
            whole.append((run, sheet))
            continue
        colors = pictures.colors
        for image, truth, prediction in pictures.rows:
            key = image.tobytes() + truth.tobytes()
            example = found.setdefault(key, Example(image, truth, []))
            example.predictions.append((run, prediction))
    return Found(list(found.values()), whole, colors)


def open_picture(path: pathlib.Path) -> np.ndarray:
    """A picture as uint8 [H, W, 3].

    Raises:
        ConfigError: One that cannot be read.
    """
    try:
        with Image.open(path) as file:
            return np.asarray(file.convert("RGB"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is damaged ({error}).") from None


def data_uri(picture: np.ndarray, *, photo: bool = False) -> str:
    """A picture [H, W, 3] inside an address; photographs in JPEG, which is smaller."""
    if photo:
        return _as_address(_narrowed(picture, MAX_WIDTH, Image.Resampling.LANCZOS), "JPEG")
    return _as_address(_narrowed(picture, MAX_WIDTH, Image.Resampling.NEAREST), "PNG")


def sheet_uri(sheet: np.ndarray) -> str:
    """The same for a sheet of photographs and of colours of classes, with titles."""
    narrowed = _narrowed(sheet, MAX_SHEET_WIDTH, Image.Resampling.LANCZOS)
    # Half the size of JPEG, but Pillow can be built without it.
    return _as_address(
        narrowed, "WEBP" if features.check("webp") else "JPEG", quality=SHEET_QUALITY
    )


def _narrowed(picture: np.ndarray, width: int, how: Image.Resampling) -> Image.Image:
    image = Image.fromarray(picture)
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), how)
    return image


def _as_address(image: Image.Image, format: str, quality: int = 90) -> str:
    file = io.BytesIO()
    image.save(file, format=format, quality=quality)
    content = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{format.lower()};base64,{content}"
