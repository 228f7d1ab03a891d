"""The orientation of photographs, which cameras record in EXIF."""

import numpy as np
import PIL.Image

from input_pipeline.errors import DataError
from input_pipeline.sources import images

EXIF_ORIENTATION = 0x0112
# How to turn a stored image upright, by EXIF value: whether to swap rows and columns, then
# whether to reverse the rows, and whether to reverse the columns.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def read_header(path: str) -> tuple[int, int, int]:
    """Height and width as stored, and the EXIF orientation, without decoding the pixels.

    Args:
        path: The image file.

    Returns:
        The height and width in pixels, and the orientation, 1 (upright) to 8.

    Raises:
        DataError: The file is not a readable image.
    """
    try:
        with PIL.Image.open(path, formats=images.FORMATS) as image:
            images.check_size(image, path)
            width, height = image.size
            return height, width, _orientation(image)
    except DataError:
        raise
    except Exception as error:  # Pillow raises half a dozen types for corrupt files.
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path}: not a readable image ({type(error).__name__}: {reason}). Copy it again, or "
            "remove it."
        ) from None


def _orientation(image: PIL.Image.Image) -> int:
    # Pillow turns a TIFF itself, and would decode a whole PNG to look for EXIF after its pixels.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    value = image.getexif().get(EXIF_ORIENTATION, 1)
    return value if value in _TURNS else 1


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turns a stored image, or an array of its pixels, upright.

    Args:
        array: [H, W, ...] as stored.
        orientation: The EXIF orientation, from `read_header`.

    Returns:
        [H, W, ...] upright; [W, H, ...] if the orientation is a quarter turn.
    """
    swaps, rows, columns = _TURNS[orientation]
    array = array.swapaxes(0, 1) if swaps else array
    return np.ascontiguousarray(array[:: -1 if rows else 1, :: -1 if columns else 1])


def as_stored(array: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `upright`."""
    swaps, rows, columns = _TURNS[orientation]
    array = array[:: -1 if rows else 1, :: -1 if columns else 1]
    return np.ascontiguousarray(array.swapaxes(0, 1) if swaps else array)
