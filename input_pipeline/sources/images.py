"""Reading photographs as RGB."""

import contextlib
import io
from collections.abc import Iterator

import cv2
import numpy as np
import PIL.Image

from input_pipeline.errors import DataError

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_START = b"\x89PNG\r\n\x1a\n"
# A small file may unpack to gigabytes; an image of 10,000 x 10,000 is still read.
MAX_PIXELS = 10_000 * 10_000
# `open_image` looks itself, with one limit for all and no warning below it.
PIL.Image.MAX_IMAGE_PIXELS = None
# Not all that Pillow knows: for some it starts other programs on the file.
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")


def read_bytes(path: str) -> bytes:
    """Returns the bytes of a file that must exist and hold some.

    Raises:
        DataError: Missing, unreadable or empty file.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path.
        raise DataError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}. Restore the "
            "file, or take it off its list."
        ) from None
    if not data:
        raise DataError(
            f"{path}: the file is empty (0 bytes). Copy it again, or take it off its list."
        )
    return data


def open_image(data: bytes, path: str) -> PIL.Image.Image:
    """Opens an image or a mask with Pillow, which reads the header alone.

    Args:
        data: The bytes of the file.
        path: Names it in messages.

    Raises:
        DataError: More pixels than MAX_PIXELS.
        Exception: Whatever Pillow raises for what is no image.
    """
    try:
        image = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
    except PIL.UnidentifiedImageError:
        # Pillow's own text has an address in memory, another one each time.
        raise PIL.UnidentifiedImageError(f"none of {', '.join(FORMATS)}") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: {width}x{height} pixels are more than the {MAX_PIXELS} that an image may "
            "have. Cut it into smaller ones, or take it off its list."
        )
    return image


def read_image(path: str) -> np.ndarray:
    """Reads an image as RGB: grey, palette, RGBA and CMYK are converted, EXIF is ignored.

    A rotation noted in EXIF is not carried out, since masks are stored as the sensor saw them.

    Args:
        path: The file.

    Returns:
        uint8 [H, W, 3].

    Raises:
        DataError: Missing, truncated or otherwise unreadable image.
    """
    return decode_image(read_bytes(path), path)


def decode_size(data: bytes, path: str) -> tuple[int, int]:
    """Height and width of the image in the bytes of a file; `path` names it in messages.

    Raises:
        DataError: No readable header.
    """
    with _naming(path), open_image(data, path) as image:
        return image.height, image.width


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Turns whatever a broken image raises into a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # Pillow and OpenCV raise half a dozen types for broken files.
        raise DataError(
            f"{path}: not a readable image ({type(error).__name__}: {error}). Copy it again, or "
            "take it off its list."
        ) from None


def decode_image(data: bytes, path: str) -> np.ndarray:
    """The same for the bytes of a file; `path` names it in messages."""
    with _naming(path), open_image(data, path) as image:
        # Some versions of OpenCV fill up a cut-off JPEG with grey and say nothing, so only a
        # file that ends as it should is left to it. Pillow is the judge of all others.
        whole = data.startswith(JPEG_START) and data.endswith(JPEG_END)
        if whole or data.startswith(PNG_START):
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
            if pixels is not None:
                return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        if image.mode in ("F", "I") or image.mode.startswith("I;"):
            raise DataError(
                f"{path}: image mode {image.mode!r} has no fixed range of brightness. "
                "Convert it to 8 bits a channel."
            )
        return np.asarray(image.convert("RGB"))
