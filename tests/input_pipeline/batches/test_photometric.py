"""Colour operations compared with those of Pillow, which UniMatch uses."""

import cv2
import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageFilter
import pytest

from input_pipeline.batches import photometric


@pytest.fixture(scope="module")
def image():
    """Smooth colours of all hues and brightnesses, with some noise."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    return cv2.resize(coarse, (120, 90), interpolation=cv2.INTER_CUBIC)


def hue_reference(image: PIL.Image.Image, turn: float) -> PIL.Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(int) + int(turn * 255)) % 256
    channels = [PIL.Image.fromarray(turned.astype(np.uint8)), saturation, value]
    return PIL.Image.merge("HSV", channels).convert("RGB")


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.3, 1.5])
@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (photometric.adjust_brightness, PIL.ImageEnhance.Brightness),
        (photometric.adjust_contrast, PIL.ImageEnhance.Contrast),
        (photometric.adjust_saturation, PIL.ImageEnhance.Color),
    ],
    ids=["brightness", "contrast", "saturation"],
)
def test_factors_equal_pillow(image, ours, reference, factor):
    expected = np.asarray(reference(PIL.Image.fromarray(image)).enhance(factor)).astype(int)
    np.testing.assert_allclose(ours(image, factor).astype(int), expected, atol=2)


@pytest.mark.parametrize("turn", [-0.25, -0.1, 0.0, 0.004, 0.13, 0.25])
def test_hue_equals_pillow(image, turn):
    expected = np.asarray(hue_reference(PIL.Image.fromarray(image), turn)).astype(int)
    difference = np.abs(photometric.adjust_hue(image, turn).astype(int) - expected)
    # Both round the hue to 8 bits; one step changes a saturated colour by up to 6 levels.
    assert difference.mean() < 2
    assert np.quantile(difference, 0.99) <= 8


def test_hue_turns_red_towards_green_and_blue():
    red = np.full((2, 2, 3), (200, 0, 0), np.uint8)
    third = photometric.adjust_hue(red, 1 / 3)[0, 0]
    assert third.argmax() == 1
    assert third[[0, 2]].max() < 8
    assert photometric.adjust_hue(red, -1 / 3)[0, 0].argmax() == 2


def test_grayscale_equals_pillow(image):
    expected = np.asarray(PIL.Image.fromarray(image).convert("L")).astype(int)
    np.testing.assert_allclose(
        photometric.grayscale(image), np.repeat(expected[..., None], 3, 2), atol=1
    )


@pytest.mark.parametrize("sigma", [0.1, 0.6, 1.0, 2.0])
def test_blur_is_a_gaussian_of_that_sigma(sigma):
    point = np.zeros((41, 41, 3), np.uint8)
    point[17:24, 17:24] = 255
    offsets = np.arange(41)
    kernel = np.exp(-((offsets[:, None] - offsets) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum(1, keepdims=True)
    expected = kernel @ point[..., 0].astype(float) @ kernel.T
    np.testing.assert_allclose(photometric.gaussian_blur(point, sigma)[..., 1], expected, atol=3)


def test_how_often_a_strong_view_is_changed_and_how():
    rng = np.random.default_rng(0)
    half = np.zeros((16, 16, 3), np.uint8)
    half[:, :8] = (180, 90, 60)
    half[:, 8:] = (60, 100, 170)
    count, gray, sharp, same = 3000, 0, 0, 0
    for _ in range(count):
        view = photometric.strong_view(half, rng)
        gray += bool((view == view[..., :1]).all())
        sharp += bool((view[:, 0] == view[:, 7]).all() and (view[:, 8] == view[:, 15]).all())
        same += bool((view == half).all())
    # Blur with a sigma below 0.25 has a kernel of one pixel and leaves the edge as it is.
    assert gray / count == pytest.approx(0.2, abs=0.025)
    assert sharp / count == pytest.approx(0.5 + 0.5 * 0.15 / 1.9, abs=0.03)
    assert same / count == pytest.approx(0.2 * 0.8 * sharp / count, abs=0.02)


def test_jitter_draws_the_range_and_the_order():
    rng = np.random.default_rng(0)
    gray = np.full((4, 4, 3), 100, np.uint8)  # Of the four, only brightness changes flat grey.
    levels = np.array([photometric.color_jitter(gray, rng)[0, 0, 0] for _ in range(2000)])
    assert 50 <= levels.min() < 53
    assert 147 < levels.max() <= 150
    assert levels.mean() == pytest.approx(100, abs=2)


def test_jitter_runs_the_operations_in_any_order(image):
    class Fixed(np.random.Generator):
        """Draws the same amounts every time, so that views differ by their order only."""

        def uniform(self, low, high):
            return low + 0.8 * (high - low)

    rng = Fixed(np.random.PCG64(0))
    distinct = {photometric.color_jitter(image, rng).tobytes() for _ in range(300)}
    # A few pairs of the 24 orders give the same bytes.
    assert 12 <= len(distinct) <= 24
