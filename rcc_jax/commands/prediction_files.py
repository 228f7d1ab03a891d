"""The files of one prediction: labels, overlay, confidence and probabilities of an image."""

import io
import pathlib

import numpy as np
from PIL import Image

from input_pipeline.files import write_atomically
from input_pipeline.sources.orientation import EXIF_ORIENTATION
from rcc_jax.errors import ConfigError
from rcc_jax.reporting import sheets

# The largest side of a JPEG; overlays of larger images are shrunk.
JPEG_SIDE = 65_500
# Folder and suffix by kind.
SUFFIXES = {"labels": ".png", "overlays": ".jpg", "confidence": ".png", "probabilities": ".npz"}


def parse_kinds(text: str) -> tuple[str, ...]:
    """The kinds of `--save=KIND,KIND`, in the order of `SUFFIXES`.

    Raises:
        ConfigError: If a kind is unknown or none is named.
    """
    wanted = {kind.strip() for kind in text.split(",") if kind.strip()}
    if not wanted or wanted - SUFFIXES.keys():
        raise ConfigError(f"--save={text}: name one or more of {', '.join(SUFFIXES)}.")
    return tuple(kind for kind in SUFFIXES if kind in wanted)


def path_of(folder: pathlib.Path, kind: str, name: str) -> pathlib.Path:
    """The path of the file of a kind for the image called `name`."""
    return folder / kind / (name + SUFFIXES[kind])


def write_legend(folder: pathlib.Path, class_names: tuple[str, ...], palette: np.ndarray) -> None:
    """Writes legend.png, the colours of the classes."""
    blank = np.full((1, 480, 3), 255, np.uint8)
    picture = sheets.sheet([[blank]], ["classes"], class_names=class_names, palette=palette)
    sheets.save_png(folder / "legend.png", picture)


def write(
    path: pathlib.Path,
    kind: str,
    *,
    image: np.ndarray,
    prediction: dict[str, np.ndarray],
    palette: np.ndarray,
    class_names: tuple[str, ...],
    orientation: int,
) -> None:
    """Writes one file, whole or not at all.

    Args:
        path: The file; its folder is created.
        kind: One of `SUFFIXES`.
        image: uint8 [H, W, 3] as stored.
        prediction: 'labels' [H, W], 'confidence' [H, W] and perhaps 'probabilities' [H, W, K] of
            the image as stored; see `Evaluator.describe`.
        palette: uint8 [256, 3].
        class_names: K names.
        orientation: EXIF orientation of the image. It is copied to the pictures, so that programs
            that rotate the image rotate them too.
    """
    file = io.BytesIO()
    exif = Image.Exif()
    if orientation != 1:
        exif[EXIF_ORIENTATION] = orientation
    if kind == "labels":
        picture = Image.fromarray(prediction["labels"])
        picture.putpalette(palette.tobytes())
        picture.save(file, "PNG", exif=exif)
    elif kind == "overlays":
        picture = Image.fromarray(overlay(image, prediction["labels"], palette))
        picture.thumbnail((JPEG_SIDE, JPEG_SIDE))
        picture.save(file, "JPEG", quality=92, exif=exif)
    elif kind == "confidence":
        level = np.rint(255 * prediction["confidence"]).astype(np.uint8)
        Image.fromarray(level).save(file, "PNG", exif=exif)
    else:
        # Half precision: steps of 0.0005 near 1, in half the space.
        half = prediction["probabilities"].astype(np.float16)
        np.savez_compressed(file, probabilities=half, class_names=np.array(class_names))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, file.getvalue())


def overlay(image: np.ndarray, labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The image blended with the colours of the labels; borders of labels are opaque.

    Args:
        image: uint8 [H, W, 3].
        labels: uint8 [H, W].
        palette: uint8 [256, 3].

    Returns:
        uint8 [H, W, 3].
    """
    colors = palette[labels]
    edges = np.zeros(labels.shape, bool)
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edges[1:] |= labels[1:] != labels[:-1]
    mixed = ((image.astype(np.uint16) + colors) // 2).astype(np.uint8)
    return np.where(edges[..., None], colors, mixed)
