"""Operations on colour and sharpness with Pillow's results, in less time.

Images are uint8 [H, W, 3], RGB. They are not changed in place, but the result may be the image
itself. A result equals Pillow's (`PIL.ImageOps`, `PIL.ImageEnhance`, `PIL.ImageFilter`), except
that values of `contrast`, `color`, `sharpness` and `blur` may differ by one level where OpenCV
rounds differently: each says where. The blends of `photometric` round where Pillow cuts off the
fraction, and so differ by a level in half of all values or more.
"""

import functools
import math

import cv2
import numpy as np

LEVELS = 256
# Pillow cuts off the fraction of a blend; OpenCV does the same if a half is subtracted before it
# rounds. Slightly less than a half, because a float may fall short of a whole number.
_CUT_OFF = -0.5 + 1e-4
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # PIL.ImageFilter.SMOOTH
_BLUR_PASSES = 3  # Box filters per direction with which Pillow approximates a Gaussian.
_FIXED_POINT = 1 << 24  # Pillow's unit of the weights of a box filter.


def identity(image: np.ndarray) -> np.ndarray:
    """The image itself."""
    return image


def autocontrast(image: np.ndarray) -> np.ndarray:
    """Stretches the levels of each channel to 0..255; a constant channel stays as it is."""

    def stretch(plane: np.ndarray) -> np.ndarray:
        low, high = int(plane.min()), int(plane.max())
        if low == high:
            return plane
        scale = 255.0 / (high - low)
        curve = np.arange(LEVELS) * scale - low * scale
        return cv2.LUT(plane, np.clip(curve, 0, 255).astype(np.uint8))

    return cv2.merge([stretch(plane) for plane in cv2.split(image)])


def equalize(image: np.ndarray) -> np.ndarray:
    """Maps each channel so that its levels are about equally frequent."""

    def spread(plane: np.ndarray) -> np.ndarray:
        counts = cv2.calcHist([plane], [0], None, [LEVELS], [0, LEVELS]).ravel().astype(np.int64)
        step = int(plane.size - counts[plane.max()]) // 255
        if not step:  # A constant channel, or very few pixels.
            return plane
        curve = (step // 2 + np.cumsum(counts) - counts) // step
        return cv2.LUT(plane, np.minimum(curve, 255).astype(np.uint8))

    return cv2.merge([spread(plane) for plane in cv2.split(image)])


def invert(image: np.ndarray) -> np.ndarray:
    """255 minus each level."""
    return cv2.bitwise_not(image)


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """Keeps the highest bits of each level, 1 to 8 of them."""
    return image & np.uint8(LEVELS - (1 << (8 - bits)))


def solarize(image: np.ndarray, threshold: int) -> np.ndarray:
    """Inverts the levels from a threshold on."""
    levels = np.arange(LEVELS)
    return cv2.LUT(image, np.where(levels < threshold, levels, 255 - levels).astype(np.uint8))


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Blends with black: a factor of 0 gives black, 1 the image; it must be in [0, 1]."""
    return cv2.LUT(image, _blend_curve(0, factor))


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blends with the mean grey: a factor of 0 gives that grey, 1 the image; within [0, 1].

    Values may be one level off if OpenCV's grey (see `color`) has another mean after rounding.
    """
    mean = int(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    return cv2.LUT(image, _blend_curve(mean, factor))


def color(image: np.ndarray, factor: float) -> np.ndarray:
    """Blends with the grey version: a factor of 0 gives grey, 1 the image; within [0, 1].

    The weights of OpenCV's grey have 15 bits, those of Pillow's 16: a few values in a thousand are
    one level off.
    """
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, gray, 1 - factor, _CUT_OFF)


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """Blends with a smoothed version: a factor of 0 gives that, 1 the image; within [0, 1].

    Blends that are less than 1e-4 below a whole number may be one level off.
    """
    smooth = cv2.filter2D(image, -1, _SMOOTH)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        smooth[edge] = image[edge]
    return cv2.addWeighted(image, factor, smooth, 1 - factor, _CUT_OFF)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Pillow's approximation of a Gaussian: three box filters, with sigma in pixels.

    It blurs more than a sampled Gaussian if sigma is well below 1. OpenCV sums in float32, Pillow
    in 32-bit integers: sums that end in .5 up to 1e-4 may be rounded the other way. They are rare
    for a sigma drawn from a range, but frequent for 1 or 2, whose weights are simple fractions:
    there the difference may reach 3 levels.
    """
    kernel = _box_kernel(sigma)
    for direction in (kernel[None], kernel[:, None]):
        for _ in range(_BLUR_PASSES):
            image = cv2.filter2D(image, -1, direction, borderType=cv2.BORDER_REPLICATE)
    return image


def hue(image: np.ndarray, turn: float) -> np.ndarray:
    """Turns the hue by a fraction of the full circle, in Pillow's 8-bit HSV.

    OpenCV's HSV has another unit of the hue and rounds elsewhere, so that saturated colours would
    differ by several levels.
    """
    red, green, blue = cv2.split(image)
    value = cv2.max(cv2.max(red, green), blue)
    chroma = value - cv2.min(cv2.min(red, green), blue)
    # The hue follows from the largest channel, the difference of the others and the chroma. Of
    # equal channels, red counts as the largest before green, and green before blue.
    sector, difference = (red < green) + np.uint8(4), red - green
    for number, largest, one, other in ((2, green, blue, red), (0, red, green, blue)):
        mask = cv2.compare(largest, value, cv2.CMP_EQ)
        cv2.copyTo((one < other) + np.uint8(number), mask, sector)
        cv2.copyTo(one - other, mask, difference)
    zeros = np.zeros_like(value)
    turned = _look_up(_hue_table(), (sector, difference), chroma)
    turned += np.uint8(int(turn * 255) % LEVELS)  # uint8 wraps, as hue does.
    saturation = _look_up(_saturation_table(), (zeros, value), chroma)
    relative = _look_up(_color_table(), (zeros, turned), saturation)
    return cv2.multiply(relative, cv2.merge((value, value, value)), dtype=cv2.CV_8U)


def _look_up(
    table: np.ndarray, row: tuple[np.ndarray, np.ndarray], column: np.ndarray
) -> np.ndarray:
    """Looks up table[256 * row[0] + row[1], column] at each pixel, in a fraction of numpy's time.

    Args:
        table: [rows, 256] or [rows, 256, 3].
        row: The high and the low byte of the row, uint8 [H, W].
        column: uint8 [H, W].
    """
    places = cv2.merge((column, np.zeros_like(column), row[1], row[0])).view("<i2")  # x, y
    return cv2.remap(table, places, None, cv2.INTER_NEAREST)


def _blend_curve(start: int, factor: float) -> np.ndarray:
    """The levels of start + factor (level - start), in Pillow's float32, without the fraction."""
    steps = (np.arange(LEVELS) - start).astype(np.float32)
    return (np.float32(start) + np.float32(factor) * steps).astype(np.uint8)


def _box_kernel(sigma: float) -> np.ndarray:
    """Weights of a box of fractional width, of which three in a row have the variance sigma^2.

    Source: Gwosdek et al., Theoretical foundations of Gaussian convolution by extended box
    filtering, SSVM 2011, equations 7, 11 and 14.
    """
    variance = sigma**2 / _BLUR_PASSES
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    fraction = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    fraction /= 6 * (variance - (whole + 1) ** 2)
    inner = int(_FIXED_POINT / (2 * (whole + fraction) + 1))
    outer = (_FIXED_POINT - (2 * whole + 1) * inner) // 2
    kernel = [outer, *[inner] * (2 * whole + 1), outer]
    return np.array(kernel, np.float32) / np.float32(_FIXED_POINT)


# The tables repeat Pillow's conversions between RGB and HSV with its mixture of float32 and
# float64, on which the last bit depends.


@functools.cache
def _hue_table() -> np.ndarray:
    """The hue by largest channel, difference of the other two, and chroma.

    Returns:
        uint8 [6 * 256, 256]: The row is 256 (2 c + (d < 0)) + d mod 256, where c is the largest
        channel and d the next channel minus the one after that, in cyclic order. The column is the
        chroma, the largest minus the smallest channel.
    """
    difference = np.arange(LEVELS, dtype=np.float32)[:, None]  # d mod 256
    chroma = np.maximum(np.arange(LEVELS, dtype=np.float32), 1)
    # The middle channel's distance from the largest, as a share of the chroma, for d >= 0 and for
    # d < 0. The smallest channel's distance is 1.
    above = (chroma - difference) / chroma
    below = (chroma - (LEVELS - difference)) / chroma
    blocks = [1 - above, below - 1]  # In float32; Pillow adds 2 c in float64.
    for c in (1, 2):
        blocks += [2.0 * c + 1 - above.astype(np.float64), 2.0 * c + below.astype(np.float64) - 1]
    sixths = np.concatenate(blocks).astype(np.float32).astype(np.float64)
    turns = np.fmod(sixths / 6 + 1, 1).astype(np.float32).astype(np.float64)
    hues = np.clip(turns * 255, 0, 255).astype(np.uint8)
    hues[:, 0] = 0
    return hues


@functools.cache
def _saturation_table() -> np.ndarray:
    """The saturation by largest channel and chroma; uint8 [256, 256]."""
    levels = np.arange(LEVELS, dtype=np.float32)
    ratio = np.minimum(levels / np.maximum(levels[:, None], 1), 1)
    return (ratio.astype(np.float64) * 255).astype(np.uint8)


@functools.cache
def _color_table() -> np.ndarray:
    """Red, green and blue relative to the largest channel, by hue and saturation.

    Returns:
        float32 [256, 256, 3].
    """
    sixths = np.arange(LEVELS)[:, None] * 6.0 / 255.0
    whole = sixths.astype(int)
    part = (sixths - whole).astype(np.float32)
    saturation = np.arange(LEVELS, dtype=np.float32) / np.float32(255)
    high = np.ones((LEVELS, LEVELS))
    low = high - saturation
    falling = high - saturation * part
    rising = high - saturation * (1.0 - part.astype(np.float64))
    sectors = [(high, rising, low), (falling, high, low), (low, high, rising)]
    sectors += [(low, falling, high), (rising, low, high), (high, low, falling)]
    is_sector = [(whole % 6 == number)[..., None] for number in range(6)]
    return np.select(is_sector, [np.stack(s, -1) for s in sectors]).astype(np.float32)
