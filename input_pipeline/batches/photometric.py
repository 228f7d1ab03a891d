"""Strong views: changes of colour and sharpness, by the name of a recipe.

Here are the recipe of UniMatch and the table of all recipes, `RECIPES`. A new recipe is a function
(image, rng) -> image, which leaves its argument as it is, and an entry there.
"""

import cv2
import numpy as np

from input_pipeline.batches.arguments import check_choice
from input_pipeline.batches.random_operations import AUGSEG, IMAS

# UniMatch (Yang et al., CVPR 2023): ColorJitter(.5, .5, .5, .25) with probability .8, grayscale
# with .2, blur with .5.
BRIGHTNESS = CONTRAST = SATURATION = 0.5
HUE = 0.25
JITTER_PROBABILITY = 0.8
GRAYSCALE_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.5
BLUR_SIGMA = (0.1, 2.0)

_LEVELS = np.arange(256, dtype=np.float32)


def strong_view(
    image: np.ndarray, rng: np.random.Generator, recipe: str = "unimatch"
) -> np.ndarray:
    """Changes colours and sharpness at random; objects stay where they are.

    Args:
        image: uint8 [H, W, 3], RGB.
        rng: The random numbers.
        recipe: A name in `RECIPES`.

    Returns:
        uint8 [H, W, 3]; it may be the image itself.

    Raises:
        ValueError: There is no such recipe.
    """
    check_choice(recipe=(recipe, RECIPES))
    return RECIPES[recipe](image, rng)


def unchanged(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The recipe 'none': the strong view is the weak view."""
    return image


def unimatch(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The recipe of UniMatch: colour jitter, grayscale and blur."""
    if rng.random() < JITTER_PROBABILITY:
        image = color_jitter(image, rng)
    if rng.random() < GRAYSCALE_PROBABILITY:
        image = grayscale(image)
    if rng.random() < BLUR_PROBABILITY:
        image = gaussian_blur(image, rng.uniform(*BLUR_SIGMA))
    return image


def color_jitter(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Changes brightness, contrast, saturation and hue by random amounts in random order."""
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
    """Rotates the hue by a fraction of the full circle, in 8-bit HSV."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(int(turn * 255) % 256)  # uint8 wraps, as hue does.
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def grayscale(image: np.ndarray) -> np.ndarray:
    """Puts the luma (ITU-R 601) into all three channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs with a Gaussian; sigma is in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def _apply_curve(image: np.ndarray, curve: np.ndarray) -> np.ndarray:
    return cv2.LUT(image, np.clip(np.rint(curve), 0, 255).astype(np.uint8))


RECIPES = {"none": unchanged, "unimatch": unimatch, "augseg": AUGSEG, "imas": IMAS}
