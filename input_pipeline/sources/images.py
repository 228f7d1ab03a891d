"""Reading images as RGB."""

import contextlib
import io
from collections.abc import Iterator

import cv2
import numpy as np
import PIL.Image

from input_pipeline.errors import DataError

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_START = b"\x89PNG\r\n\x1a\n"
# A small file may unpack to gigabytes, so images above 10,000 x 10,000 pixels are refused.
MAX_PIXELS = 10_000 * 10_000
# `open_image` checks the size itself: one limit for all formats, and no warning below it.
PIL.Image.MAX_IMAGE_PIXELS = None
# Errors of corrupt files are raised, and named; OpenCV would print warnings besides.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
# Not all formats that Pillow knows: for some of them it runs other programs on the file.
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")


def read_bytes(path: str) -> bytes:
    """Returns the bytes of a file, which must not be empty.

    Raises:
        DataError: The file is missing, unreadable or empty.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path.
        raise DataError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}. Restore the "
            "file, or remove it from its list."
        ) from None
    if not data:
        raise DataError(
            f"{path}: the file is empty (0 bytes). Copy it again, or remove it from its list."
        )
    return data


def open_image(data: bytes, path: str) -> PIL.Image.Image:
    """Opens an image or a mask with Pillow, which reads only the header.

    Args:
        data: The bytes of the file.
        path: The name of the file in messages.

    Raises:
        DataError: The image has more than MAX_PIXELS pixels.
        Exception: Whatever Pillow raises if the bytes are not an image.
    """
    try:
        image = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
    except PIL.UnidentifiedImageError:
        # Pillow's own message contains a memory address, which differs each time.
        raise PIL.UnidentifiedImageError(f"none of {', '.join(FORMATS)}") from None
    check_size(image, path)
    return image


def check_size(image: PIL.Image.Image, path: str) -> None:
    """Refuses an image with more than MAX_PIXELS pixels."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: the image has {width}x{height} pixels, more than the limit of "
            f"{MAX_PIXELS}. Cut it into smaller images, or remove it from its list."
        )


def read_image(path: str) -> np.ndarray:
    """Reads an image as RGB; converts grey, palette, RGBA and CMYK images.

    The EXIF orientation is ignored, because masks are stored without it.

    Args:
        path: The image file.

    Returns:
        uint8 [H, W, 3].

    Raises:
        DataError: The image is missing, truncated or otherwise unreadable.
    """
    return decode_image(read_bytes(path), path)


def decode_size(data: bytes, path: str) -> tuple[int, int]:
    """Height and width of an image, given as the bytes of a file.

    Args:
        data: The bytes of the file.
        path: The name of the file in messages.

    Raises:
        DataError: The header cannot be read.
    """
    with _naming(path), open_image(data, path) as image:
        return image.height, image.width


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Turns every error that a corrupt image causes into a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # Pillow and OpenCV raise half a dozen types for corrupt files.
        raise DataError(
            f"{path}: not a readable image ({type(error).__name__}: {error}). Copy it again, or "
            "remove it from its list."
        ) from None


def decode_image(data: bytes, path: str) -> np.ndarray:
    """Decodes an image as `read_image` does; `path` is the name of the file in messages."""
    with _naming(path), open_image(data, path) as image:
        # Some versions of OpenCV silently fill a truncated JPEG with grey, so OpenCV decodes only
        # JPEGs that end with the end marker. Pillow decides about all other files.
        whole = data.startswith(JPEG_START) and data.endswith(JPEG_END)
        if whole or data.startswith(PNG_START):
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
            if pixels is not None:
                return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        if image.mode in ("F", "I") or image.mode.startswith("I;"):
            raise DataError(
                f"{path}: image mode {image.mode!r} has no fixed range of brightness. "
                "Convert the image to 8 bits per channel."
            )
        return np.asarray(image.convert("RGB"))
