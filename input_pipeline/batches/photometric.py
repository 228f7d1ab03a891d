"""Colour jitter, grayscale and blur: what makes a view strong."""

import cv2
import numpy as np

# ColorJitter(.5, .5, .5, .25) p .8, grayscale p .2, blur p .5: UniMatch, CVPR 2023.
BRIGHTNESS = CONTRAST = SATURATION = 0.5
HUE = 0.25
JITTER_PROBABILITY = 0.8
GRAYSCALE_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.5
BLUR_SIGMA = (0.1, 2.0)

_LEVELS = np.arange(256, dtype=np.float32)


def strong_view(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Distorts colours and sharpness at random; pixels keep their places.

    Args:
        image: uint8 [H, W, 3], RGB.
        rng: The draws.

    Returns:
        uint8 [H, W, 3].
    """
    if rng.random() < JITTER_PROBABILITY:
        image = color_jitter(image, rng)
    if rng.random() < GRAYSCALE_PROBABILITY:
        image = grayscale(image)
    if rng.random() < BLUR_PROBABILITY:
        image = gaussian_blur(image, rng.uniform(*BLUR_SIGMA))
    return image


def color_jitter(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, saturation and hue by random amounts in random order."""
    steps = (
        (adjust_brightness, rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS)),
        (adjust_contrast, rng.uniform(1 - CONTRAST, 1 + CONTRAST)),
        (adjust_saturation, rng.uniform(1 - SATURATION, 1 + SATURATION)),
        (adjust_hue, rng.uniform(-HUE, HUE)),
    )
    for index in rng.permutation(len(steps)):
        adjust, amount = steps[index]
        image = adjust(image, amount)
    return image


def adjust_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Blends with black: factor 0 is black, 1 the image, above 1 brighter."""
    return _apply_curve(image, factor * _LEVELS)


def adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blends with the mean grey of the image: factor 0 is that grey, 1 the image."""
    mean = cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0]
    return _apply_curve(image, mean + factor * (_LEVELS - mean))


def adjust_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Blends with the grey version of the image: factor 0 is grey, 1 the image."""
    return cv2.addWeighted(image, factor, grayscale(image), 1 - factor, 0)


def adjust_hue(image: np.ndarray, turn: float) -> np.ndarray:
    """Turns the hue by a fraction of the full circle, in 8-bit HSV."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(int(turn * 255) % 256)  # uint8 wraps as hue does.
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def grayscale(image: np.ndarray) -> np.ndarray:
    """Luma (ITU-R 601) in all three channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur, sigma in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def _apply_curve(image: np.ndarray, curve: np.ndarray) -> np.ndarray:
    return cv2.LUT(image, np.clip(np.rint(curve), 0, 255).astype(np.uint8))
