"""Operations compared with those of Pillow, which AugSeg and iMAS use."""

import math

import cv2
import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageFilter
import PIL.ImageOps
import pytest

from input_pipeline.batches import operations

FACTORS = (0.0, 0.05, 0.31, 0.5, 0.77, 0.949, 1.0)


def enhance(name: str):
    return lambda image, factor: getattr(PIL.ImageEnhance, name)(image).enhance(factor)


def turn_hue(image: PIL.Image.Image, turn: float) -> PIL.Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = ((np.asarray(hue).astype(int) + int(turn * 255)) % 256).astype(np.uint8)
    return PIL.Image.merge("HSV", (PIL.Image.fromarray(turned), saturation, value)).convert("RGB")


def blur(image: PIL.Image.Image, sigma: float) -> PIL.Image.Image:
    return image.filter(PIL.ImageFilter.GaussianBlur(sigma))


# Of each operation: Pillow's, amounts, and the largest share of values that may be one level off.
PILLOWS = {
    "identity": (lambda image: image, [()], 0),
    "autocontrast": (PIL.ImageOps.autocontrast, [()], 0),
    "equalize": (PIL.ImageOps.equalize, [()], 0),
    "invert": (PIL.ImageOps.invert, [()], 0),
    "posterize": (PIL.ImageOps.posterize, [(bits,) for bits in range(1, 9)], 0),
    "solarize": (PIL.ImageOps.solarize, [(level,) for level in (1, 2, 100, 128, 255, 256)], 0),
    "brightness": (enhance("Brightness"), [(factor,) for factor in FACTORS], 0),
    # The mean grey is rounded the other way in none of these images.
    "contrast": (enhance("Contrast"), [(factor,) for factor in FACTORS], 0),
    # OpenCV's grey is one level off in a few pixels of a thousand.
    "color": (enhance("Color"), [(factor,) for factor in FACTORS], 0.01),
    # Blends just below a whole number are taken for it.
    "sharpness": (enhance("Sharpness"), [(factor,) for factor in FACTORS], 0.002),
    "hue": (turn_hue, [(turn,) for turn in (-0.5, -0.25, -0.001, 0.0, 0.004, 0.13, 0.4999)], 0),
    # OpenCV's sums have 24 bits.
    "blur": (blur, [(sigma,) for sigma in (0.1, 0.23, 0.417, 0.71, 1.13, 1.41, 1.53, 1.97)], 0.001),
}


def photo(height: int, width: int) -> np.ndarray:
    """Smooth colours of all hues with edges, noise and a narrow range of green."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(float)
    image[height // 3 :, width // 2 :] *= 0.6
    image += rng.normal(0, 4, (height, width, 1))
    image[..., 1] = 40 + 0.5 * image[..., 1]
    return np.clip(image, 0, 255).astype(np.uint8)


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (61, 83, 3)).astype(np.uint8)
    return {
        "noise": noise,
        "photo": photo(120, 90),
        "dark": rng.integers(30, 80, (50, 40, 3)).astype(np.uint8),
        "grey": np.repeat(noise[..., :1], 3, 2),
        "two levels": np.where(noise < 200, np.uint8(3), np.uint8(250)),
        "constant": np.full((20, 30, 3), (7, 130, 255), np.uint8),
        "black": np.zeros((20, 30, 3), np.uint8),
        "constant red": np.concatenate([np.full_like(noise[..., :1], 90), noise[..., 1:]], -1),
        "blue only": noise * np.array([0, 0, 1], np.uint8),
        "wide": noise[:2, :40],
        "pixel": noise[:1, :1],
    }


@pytest.mark.parametrize("name", PILLOWS)
def test_equals_pillow(name):
    reference, all_amounts, tolerated = PILLOWS[name]
    for kind, image in images().items():
        image.setflags(write=False)
        for amounts in all_amounts:
            ours = getattr(operations, name)(image, *amounts)
            assert (ours.dtype, ours.shape) == (np.uint8, image.shape)
            expected = np.asarray(reference(PIL.Image.fromarray(image), *amounts))
            off = np.abs(ours.astype(int) - expected)
            assert off.max() <= 1, (kind, amounts)
            assert off.sum() <= math.ceil(tolerated * off.size), (kind, amounts)


def test_hue_of_every_colour_equals_pillows():
    # All 256 levels of two channels with a few of the third, in each order.
    low, high = np.meshgrid(np.arange(256), np.arange(256))
    for third in (0, 1, 90, 254):
        planes = np.stack([low, high, np.full_like(low, third)], -1).astype(np.uint8)
        for order in ([0, 1, 2], [1, 2, 0], [2, 0, 1]):
            image = np.ascontiguousarray(planes[..., order])
            expected = np.asarray(turn_hue(PIL.Image.fromarray(image), 0.3))
            np.testing.assert_array_equal(operations.hue(image, 0.3), expected)


@pytest.mark.parametrize("name", ["contrast", "color"])
def test_where_opencvs_grey_differs_the_result_is_at_most_one_level_off(name):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    gray = np.asarray(PIL.Image.fromarray(noise).convert("L"))
    worst = noise[cv2.cvtColor(noise, cv2.COLOR_RGB2GRAY) != gray]
    assert len(worst) > 50
    reached = 0
    for pixel in worst[:50]:
        image = np.full((2, 2, 3), pixel)
        for factor in FACTORS:
            expected = np.asarray(enhance(name.capitalize())(PIL.Image.fromarray(image), factor))
            off = np.abs(getattr(operations, name)(image, factor).astype(int) - expected)
            reached = max(reached, off.max())
    assert reached == 1


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0])
def test_blur_with_weights_of_simple_fractions_is_at_most_three_levels_off(sigma):
    for image in images().values():
        expected = np.asarray(blur(PIL.Image.fromarray(image), sigma)).astype(int)
        assert np.abs(operations.blur(image, sigma) - expected).max() <= 3
