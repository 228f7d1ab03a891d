"""The recipes' views made with Pillow only, as programs on PyTorch and torchvision make them.

The views of `input_pipeline` are compared with these, in appearance (tests/benchmarks/
test_pillow_views.py) and in speed (input_speed.py, recipe_speed.py). torchvision's ColorJitter on
PIL images calls the same enhancers of Pillow; for the hue it shifts the first channel of an 8-bit
HSV image. Random numbers are drawn in the order of `input_pipeline`, so that equal seeds give views
with the same geometry, boxes, operations and amounts.
"""

import io
import math

import cv2
import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageFilter
import PIL.ImageOps


def decode(data: bytes) -> PIL.Image.Image:
    """Decodes the bytes of an image file to RGB."""
    return PIL.Image.open(io.BytesIO(data)).convert("RGB")


def weak_view(
    image: PIL.Image.Image, rng: np.random.Generator, crop_size: int
) -> tuple[PIL.Image.Image, PIL.Image.Image, np.ndarray]:
    """Resizes the long side by 0.5 to 2, pads, crops, flips, and draws the boxes of two views.

    Returns:
        An RGB image of crop_size; one channel with 0 on the image and 255 on padding; int [2, 4].
    """
    width, height = image.size
    scale, down, right = rng.uniform(0.5, 2.0), rng.random(), rng.random()
    flip = rng.random() < 0.5
    boxes = np.array([draw_box(rng, crop_size) for _ in range(2)])
    longest = max(width, height)
    resized = int(longest * scale + 0.5)
    size = int(width * resized / longest + 0.5), int(height * resized / longest + 0.5)
    image = image.resize(size, PIL.Image.Resampling.BILINEAR)
    mask = PIL.Image.new("L", size)
    missing = (0, 0, max(crop_size - size[0], 0), max(crop_size - size[1], 0))
    image = PIL.ImageOps.expand(image, border=missing, fill=0)
    mask = PIL.ImageOps.expand(mask, border=missing, fill=255)
    left = int(right * (image.width - crop_size + 1))
    top = int(down * (image.height - crop_size + 1))
    box = (left, top, left + crop_size, top + crop_size)
    image, mask = image.crop(box), mask.crop(box)
    if flip:
        image, mask = PIL.ImageOps.mirror(image), PIL.ImageOps.mirror(mask)
    return image, mask, boxes


def draw_box(rng: np.random.Generator, crop_size: int) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of a CutMix box, which is empty in half of the cases."""
    if rng.random() >= 0.5:
        return 0, 0, 0, 0
    area = rng.uniform(0.02, 0.4) * crop_size**2
    while True:
        ratio = rng.uniform(0.3, 1 / 0.3)
        height, width = int((area * ratio) ** 0.5), int((area / ratio) ** 0.5)
        top, left = rng.integers(0, crop_size, 2).tolist()
        if top + height <= crop_size and left + width <= crop_size:
            return top, left, top + height, left + width


def strong_view(image: PIL.Image.Image, rng: np.random.Generator) -> PIL.Image.Image:
    """Jitter with probability 0.8, grayscale with 0.2, blur with 0.5."""
    if rng.random() < 0.8:
        image = color_jitter(image, rng)
    if rng.random() < 0.2:
        image = image.convert("L").convert("RGB")
    if rng.random() < 0.5:
        image = blur(image, rng.uniform(0.1, 2.0))
    return image


def color_jitter(image: PIL.Image.Image, rng: np.random.Generator) -> PIL.Image.Image:
    """ColorJitter(0.5, 0.5, 0.5, 0.25): four operations in random order."""
    brightness, contrast, saturation = (rng.uniform(0.5, 1.5) for _ in range(3))
    turn = rng.uniform(-0.25, 0.25)
    for index in rng.permutation(4):
        if index == 0:
            image = PIL.ImageEnhance.Brightness(image).enhance(brightness)
        elif index == 1:
            image = PIL.ImageEnhance.Contrast(image).enhance(contrast)
        elif index == 2:
            image = PIL.ImageEnhance.Color(image).enhance(saturation)
        else:
            image = turn_hue(image, turn)
    return image


def turn_hue(image: PIL.Image.Image, turn: float) -> PIL.Image.Image:
    """Shifts the hue by a fraction of the full circle."""
    hue, saturation, value = image.convert("HSV").split()
    turned = np.array(hue, np.uint8)
    turned += np.array(int(turn * 255)).astype(np.uint8)  # Wraps as hue does.
    hue = PIL.Image.fromarray(turned)
    return PIL.Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def blur(image: PIL.Image.Image, sigma: float) -> PIL.Image.Image:
    """Pillow's Gaussian blur, three box filters."""
    return image.filter(PIL.ImageFilter.GaussianBlur(radius=sigma))


def augseg(image: PIL.Image.Image, rng: np.random.Generator) -> PIL.Image.Image:
    """One to three of AugSeg's 11 operations."""
    return draw_operations(image, rng, int(rng.integers(1, 4)), 11, 0.05, 1.0)


def imas(image: PIL.Image.Image, rng: np.random.Generator) -> PIL.Image.Image:
    """Two of iMAS's 12 operations: AugSeg's and invert."""
    return draw_operations(image, rng, int(rng.integers(2, 3)), 12, 0.95 - 0.999 * 0.85, 0.999)


def draw_operations(
    image: PIL.Image.Image,
    rng: np.random.Generator,
    count: int,
    kinds: int,
    lowest: float,
    share: float,
) -> PIL.Image.Image:
    """Draws `count` of the first `kinds` operations, then their amounts, and applies them."""
    for kind in rng.integers(0, kinds, count).tolist():
        if kind == 1:
            image = PIL.ImageOps.autocontrast(image)
        elif kind == 2:
            image = PIL.ImageOps.equalize(image)
        elif kind == 3:
            image = blur(image, 0.1 + 1.9 * share * rng.random())
        elif kind == 4:
            image = PIL.ImageEnhance.Contrast(image).enhance(rng.uniform(lowest, 0.95))
        elif kind == 5:
            image = PIL.ImageEnhance.Brightness(image).enhance(rng.uniform(lowest, 0.95))
        elif kind == 6:
            image = PIL.ImageEnhance.Color(image).enhance(rng.uniform(lowest, 0.95))
        elif kind == 7:
            image = PIL.ImageEnhance.Sharpness(image).enhance(rng.uniform(lowest, 0.95))
        elif kind == 8:
            image = PIL.ImageOps.posterize(image, 8 - max(1, math.ceil(4 * share * rng.random())))
        elif kind == 9:
            dropped = max(1, math.ceil(255 * share * rng.random()))
            image = PIL.ImageOps.solarize(image, 256 - dropped)
        elif kind == 10:
            turn = 0.5 * share * rng.random()
            image = turn_hue(image, -turn if rng.random() < 0.5 else turn)
        elif kind == 11:
            image = PIL.ImageOps.invert(image)
    return image


RECIPES = {"unimatch": strong_view, "augseg": augseg, "imas": imas}


def unlabeled_views(
    image: PIL.Image.Image, rng: np.random.Generator, crop_size: int
) -> dict[str, np.ndarray]:
    """The views of an unlabelled image, named as those of `input_pipeline.batches.views`."""
    weak, padding, boxes = weak_view(image, rng, crop_size)
    views = {"weak": np.asarray(weak), "valid": np.asarray(padding) == 0, "boxes": boxes}
    for name in ("strong1", "strong2"):
        views[name] = np.asarray(strong_view(weak.copy(), rng))
    return views


def draw_photo(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws an image with the brightness, colours, texture and edges of a photograph.

    It has texture of all scales, mostly coarse, a few transparent ellipses, and noise.

    Returns:
        uint8 [height, width, 3], RGB.
    """
    texture, scale = np.zeros((height, width, 3), np.float32), 2
    while scale <= 128:
        shape = (height // scale + 2, width // scale + 2, 4)
        noise = cv2.resize(
            rng.normal(0, 1, shape).astype(np.float32),
            (width, height),
            interpolation=cv2.INTER_CUBIC,
        )
        texture += (0.3 * noise[..., :3] + noise[..., 3:]) * scale**0.6
        scale *= 2
    pixels = np.exp(0.6 * texture / texture.std()) * rng.uniform(40, 110)
    pixels *= np.exp(rng.normal(0, 0.25, 3))
    for _ in range(6):
        inside = np.zeros((height, width), np.uint8)
        center = (int(rng.integers(width)), int(rng.integers(height)))
        axes = rng.integers(8, max(width // 4, 9), 2).tolist()
        cv2.ellipse(inside, center, axes, float(rng.integers(180)), 0, 360, 1, -1)
        pixels[inside > 0] *= np.exp(rng.normal(0, 0.5, 3))
    pixels += rng.normal(0, 3, (height, width, 1))
    return np.clip(pixels, 0, 255).astype(np.uint8)
