"""Weak and strong views of an image, where padding is valid, and CutMix boxes.

The recipe is UniMatch's (Yang et al., CVPR 2023).
"""

import dataclasses

import cv2
import numpy as np
import PIL.Image

from input_pipeline.batches.photometric import strong_view
from input_pipeline.sources.labels import IGNORE

SCALE = (0.5, 2.0)  # Of the long side.
FLIP_PROBABILITY = 0.5
BOX_PROBABILITY = 0.5
BOX_AREA = (0.02, 0.4)  # Of the crop.
BOX_RATIO = (0.3, 1 / 0.3)  # Height / width.


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A resize, a crop and a flip: (height, width) after the resize, corner of the crop."""

    height: int
    width: int
    top: int
    left: int
    flip: bool


def draw_geometry(rng: np.random.Generator, height: int, width: int, crop_size: int) -> Geometry:
    """Draws the geometry of a weak view.

    Args:
        rng: The draws.
        height: Of the image, pixels.
        width: Of the image, pixels.
        crop_size: Side of the crop; a smaller resized image is padded at the right and bottom.
    """
    scale, y, x = rng.uniform(*SCALE), rng.random(), rng.random()
    longest = max(height, width)
    resized = max(1, round(longest * scale))
    new_height = max(1, round(height * resized / longest))
    new_width = max(1, round(width * resized / longest))
    return Geometry(
        height=new_height,
        width=new_width,
        top=int(y * (max(new_height - crop_size, 0) + 1)),
        left=int(x * (max(new_width - crop_size, 0) + 1)),
        flip=bool(rng.random() < FLIP_PROBABILITY),
    )


def crop_image(image: np.ndarray, geometry: Geometry, crop_size: int) -> np.ndarray:
    """Resizes, crops, pads with black and flips; uint8 [H, W, 3] to [crop_size, crop_size, 3]."""
    shrinks = geometry.height < image.shape[0] or geometry.width < image.shape[1]
    window = (shrink_window if shrinks else enlarge_window)(image, geometry, crop_size)
    crop = np.zeros((crop_size, crop_size, 3), np.uint8)
    crop[: window.shape[0], : window.shape[1]] = window
    return cv2.flip(crop, 1) if geometry.flip else crop


def shrink_window(image: np.ndarray, geometry: Geometry, crop_size: int) -> np.ndarray:
    """What the crop shows of the shrunk image; antialiased bilinear, as Pillow has it.

    OpenCV's INTER_AREA is faster but less smooth: at scale 0.5, photographs keep half as much edge
    energy again as in the recipe's views.

    Args:
        image: uint8 [H, W, 3].
        geometry: The size that the whole image shrinks to, and the corner of the crop.
        crop_size: The side of the crop.

    Returns:
        uint8 [h, w, 3]; h and w are below crop_size where the shrunk image ends.
    """
    height, width = image.shape[:2]
    rows = min(crop_size, geometry.height - geometry.top)
    columns = min(crop_size, geometry.width - geometry.left)
    # Only the crop is computed. Pillow also averages over pixels outside the box, so this equals a
    # crop of the whole shrunk image, up to rounding.
    y_scale, x_scale = height / geometry.height, width / geometry.width
    box = (
        geometry.left * x_scale,
        geometry.top * y_scale,
        min((geometry.left + columns) * x_scale, width),  # Rounding must not leave the image.
        min((geometry.top + rows) * y_scale, height),
    )
    bilinear = PIL.Image.Resampling.BILINEAR
    return np.asarray(PIL.Image.fromarray(image).resize((columns, rows), bilinear, box=box))


def enlarge_window(image: np.ndarray, geometry: Geometry, crop_size: int) -> np.ndarray:
    """The same of an enlarged image; OpenCV's bilinear, within one level of Pillow's and faster."""
    size = (geometry.width, geometry.height)
    resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return resized[
        geometry.top : geometry.top + crop_size, geometry.left : geometry.left + crop_size
    ]


def crop_label(label: np.ndarray, geometry: Geometry, crop_size: int) -> np.ndarray:
    """The same for a mask: nearest neighbour, padded with 255; uint8 [H, W] to [S, S]."""
    # Only the crop is looked up: nearest neighbour needs no other pixel.
    rows = _nearest(label.shape[0], geometry.height, geometry.top, crop_size)
    columns = _nearest(label.shape[1], geometry.width, geometry.left, crop_size)
    crop = np.full((crop_size, crop_size), IGNORE, np.uint8)
    crop[: len(rows), : len(columns)] = label[rows[:, None], columns]
    return cv2.flip(crop, 1) if geometry.flip else crop


def valid_mask(geometry: Geometry, crop_size: int) -> np.ndarray:
    """True where the crop shows the image, False on padding; bool [crop_size, crop_size]."""
    valid = np.zeros((crop_size, crop_size), bool)
    valid[: geometry.height - geometry.top, : geometry.width - geometry.left] = True
    return valid[:, ::-1] if geometry.flip else valid


def draw_box(rng: np.random.Generator, crop_size: int) -> np.ndarray:
    """Draws a CutMix box that lies within the crop, or none.

    Returns:
        int32 [4]: y0, x0, y1, x1, ends excluded; all zeros = no box.
    """
    if rng.random() >= BOX_PROBABILITY:
        return np.zeros(4, np.int32)
    area = rng.uniform(*BOX_AREA) * crop_size**2
    while True:  # A shape or place that does not fit is drawn again, as in the recipe.
        ratio = rng.uniform(*BOX_RATIO)
        height, width = max(1, int((area * ratio) ** 0.5)), max(1, int((area / ratio) ** 0.5))
        top, left = (int(x) for x in rng.integers(0, crop_size, 2))
        if top + height <= crop_size and left + width <= crop_size:
            return np.array([top, left, top + height, left + width], np.int32)


@dataclasses.dataclass(frozen=True)
class LabeledViews:
    """Turns {'image', 'label'} into their weak view, of crop_size."""

    crop_size: int

    def __call__(self, element: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image, label = element["image"], element["label"]
        geometry = draw_geometry(rng, *image.shape[:2], self.crop_size)
        return {
            "image": crop_image(image, geometry, self.crop_size),
            "label": crop_label(label, geometry, self.crop_size),
        }


@dataclasses.dataclass(frozen=True)
class UnlabeledViews:
    """Turns {'image'} into weak, strong1, .., valid and, for the receiver of CutMix, boxes.

    Attributes:
        crop_size: Side of the views, pixels.
        strong_views: How many strong views are made of the weak one.
        boxes: Whether to draw a box for each of them.
    """

    crop_size: int
    strong_views: int
    boxes: bool

    def __call__(self, element: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image = element["image"]
        # Everything but colour is drawn first, and for two views, so that the first strong view
        # does not depend on how many there are.
        geometry = draw_geometry(rng, *image.shape[:2], self.crop_size)
        boxes = [draw_box(rng, self.crop_size) for _ in range(2)]
        weak = crop_image(image, geometry, self.crop_size)
        views = {"weak": weak, "valid": valid_mask(geometry, self.crop_size)}
        for number in range(1, self.strong_views + 1):
            views[f"strong{number}"] = strong_view(weak, rng)
        if self.boxes:
            views["boxes"] = np.stack(boxes[: self.strong_views])
        return views


def _nearest(length: int, new_length: int, start: int, count: int) -> np.ndarray:
    """Source indices of up to count resized pixels from start on, by pixel centres."""
    positions = np.arange(start, min(start + count, new_length))
    return (2 * positions + 1) * length // (2 * new_length)
