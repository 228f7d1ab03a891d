"""Predictions of several runs on the same images, side by side."""

import base64
import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image

from rcc_jax import visualization
from rcc_jax.errors import ConfigError
from rcc_jax.run_record import RunRecord

TITLES = ("image", "truth", "prediction")
# Larger ones would make a page of many megabytes.
MAX_WIDTH = 640


@dataclasses.dataclass
class Example:
    """An image, its truth and predictions by the run they are of."""

    image: np.ndarray
    truth: np.ndarray
    predictions: list[tuple[RunRecord, np.ndarray]]


def examples(
    runs: Sequence[RunRecord], class_names: Sequence[str]
) -> tuple[list[Example], list[tuple[RunRecord, np.ndarray]]]:
    """Cuts the sheets of runs apart and joins what shows the same image.

    Args:
      runs: the runs; those without a sheet are left out.
      class_names: names in the legends of the sheets.

    Returns:
      The examples, and whole sheets of runs that cannot be cut, such as those of images of
      several sizes.

    Raises:
      ConfigError: for a picture that cannot be read.
    """
    found: dict[bytes, Example] = {}
    whole = []
    for run in runs:
        if run.picture is None:
            continue
        sheet = _open(run)
        count = min(run.config["eval"]["pictures"], run.counts.get("val", 0))
        rows = visualization.cut_sheet(sheet, count, TITLES, class_names) if count else None
        if rows is None:
            whole.append((run, sheet))
            continue
        for image, truth, prediction in rows:
            key = image.tobytes() + truth.tobytes()
            example = found.setdefault(key, Example(image, truth, []))
            example.predictions.append((run, prediction))
    return list(found.values()), whole


def _open(run: RunRecord) -> np.ndarray:
    try:
        with Image.open(run.picture) as file:
            return np.asarray(file.convert("RGB"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{run.picture} is damaged ({error}).") from None


def data_uri(picture: np.ndarray, *, photo: bool = False) -> str:
    """A picture [H, W, 3] inside an address; photographs in JPEG, which is smaller."""
    if picture.shape[1] > MAX_WIDTH:
        height = max(1, round(len(picture) * MAX_WIDTH / picture.shape[1]))
        how = Image.Resampling.LANCZOS if photo else Image.Resampling.NEAREST
        picture = np.asarray(Image.fromarray(picture).resize((MAX_WIDTH, height), how))
    format = "JPEG" if photo else "PNG"
    content = base64.b64encode(visualization.encode(picture, format)).decode()
    return f"data:image/{format.lower()};base64,{content}"
