"""Weak and strong views of an image, and masks of their padding.

Sizes and probabilities are those of UniMatch (Yang et al., CVPR 2023).
"""

import dataclasses

import cv2
import numpy as np
import PIL.Image

from input_pipeline.batches.arguments import check_choice
from input_pipeline.batches.boxes import BOXES, draw_box, unimatch_box
from input_pipeline.batches.photometric import RECIPES, strong_view
from input_pipeline.sources.labels import IGNORE

SCALE = (0.5, 2.0)  # Of the longer side.
FLIP_PROBABILITY = 0.5


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A resize, a crop and a flip.

    Attributes:
        height: Height after the resize.
        width: Width after the resize.
        top: First row of the crop.
        left: First column of the crop.
        flip: Whether the crop is mirrored.
    """

    height: int
    width: int
    top: int
    left: int
    flip: bool


def draw_geometry(rng: np.random.Generator, height: int, width: int, crop_size: int) -> Geometry:
    """Draws the geometry of a weak view.

    Args:
        rng: The random numbers.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
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
    """The part of the shrunk image inside the crop; Pillow's antialiased bilinear interpolation.

    OpenCV's INTER_AREA is faster but less smooth: at scale 0.5, photographs keep 1.5 times as much
    edge energy as in UniMatch's views.

    Args:
        image: uint8 [H, W, 3].
        geometry: The size of the whole shrunk image, and the corner of the crop.
        crop_size: Side of the crop.

    Returns:
        uint8 [h, w, 3], where h and w are below crop_size if the shrunk image ends earlier.
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
        # Rounding must not exceed the image.
        min((geometry.left + columns) * x_scale, width),
        min((geometry.top + rows) * y_scale, height),
    )
    bilinear = PIL.Image.Resampling.BILINEAR
    return np.asarray(PIL.Image.fromarray(image).resize((columns, rows), bilinear, box=box))


def enlarge_window(image: np.ndarray, geometry: Geometry, crop_size: int) -> np.ndarray:
    """The part of the enlarged image inside the crop.

    OpenCV's bilinear interpolation is faster than Pillow's and within one level of it.
    """
    size = (geometry.width, geometry.height)
    resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return resized[
        geometry.top : geometry.top + crop_size, geometry.left : geometry.left + crop_size
    ]


def crop_label(label: np.ndarray, geometry: Geometry, crop_size: int) -> np.ndarray:
    """Does the same as `crop_image` to a mask: nearest neighbour, padded with 255.

    Args:
        label: uint8 [H, W].
        geometry: The same as for the image.
        crop_size: Side of the crop.

    Returns:
        uint8 [crop_size, crop_size].
    """
    # Only the pixels of the crop are looked up; nearest-neighbour interpolation needs no others.
    rows = _nearest(label.shape[0], geometry.height, geometry.top, crop_size)
    columns = _nearest(label.shape[1], geometry.width, geometry.left, crop_size)
    crop = np.full((crop_size, crop_size), IGNORE, np.uint8)
    crop[: len(rows), : len(columns)] = label[rows[:, None], columns]
    return cv2.flip(crop, 1) if geometry.flip else crop


def valid_mask(geometry: Geometry, crop_size: int) -> np.ndarray:
    """True inside the image, False on padding; bool [crop_size, crop_size]."""
    valid = np.zeros((crop_size, crop_size), bool)
    valid[: geometry.height - geometry.top, : geometry.width - geometry.left] = True
    return valid[:, ::-1] if geometry.flip else valid


@dataclasses.dataclass(frozen=True)
class LabeledViews:
    """Turns {'image', 'label'} into a weak view of both, of side crop_size."""

    crop_size: int

    def __call__(self, element: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image, label = element["image"], element["label"]
        geometry = draw_geometry(rng, *image.shape[:2], self.crop_size)
        return {
            "image": crop_image(image, geometry, self.crop_size),
            "label": crop_label(label, geometry, self.crop_size),
        }


@dataclasses.dataclass(frozen=True)
class PseudoViews:
    """`LabeledViews`; where the mask is a pseudo mask, colours are changed and a box is cut out.

    The colour changes and the box law are those of ST++ (Yang et al., CVPR 2022), which are
    UniMatch's. It takes {'image', 'label', 'pseudo'}.
    """

    crop_size: int

    def __call__(self, element: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
        crop = LabeledViews(self.crop_size)(element, rng)
        if not element["pseudo"]:
            return crop
        return cut_out(strong_view(crop["image"], rng), crop["label"], rng)


def cut_out(
    image: np.ndarray, label: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Fills a box with noise and ignores its labels, with probability `boxes.BOX_PROBABILITY`.

    Args:
        image: uint8 [S, S, 3].
        label: uint8 [S, S].
        rng: The random numbers.

    Returns:
        'image' and 'label', both new where there is a box.
    """
    top, left, bottom, right = unimatch_box(rng, len(image)).tolist()
    if bottom > top:
        image, label = image.copy(), label.copy()
        noise = rng.integers(0, 256, (bottom - top, right - left, 3), dtype=np.uint8)
        image[top:bottom, left:right], label[top:bottom, left:right] = noise, IGNORE
    return {"image": image, "label": label}


@dataclasses.dataclass(frozen=True)
class UnlabeledViews:
    """Turns {'image'} into 'weak', 'strong1', .., 'valid' and, if asked for, 'boxes'.

    Attributes:
        crop_size: Side of the views, pixels.
        strong_views: Number of strong views to make from the weak view.
        boxes: Whether to return a CutMix box for each strong view.
        recipe: The recipe of the strong views, a name in `photometric.RECIPES`.
        box: The law of the boxes, a name in `boxes.BOXES`.

    Raises:
        ValueError: There is no such recipe or law.
    """

    crop_size: int
    strong_views: int
    boxes: bool
    recipe: str = "unimatch"
    box: str = "unimatch"

    def __post_init__(self):
        check_choice(recipe=(self.recipe, RECIPES), box=(self.box, BOXES))

    def __call__(self, element: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image = element["image"]
        # Geometry and two boxes are always drawn, and drawn first: the first strong view must not
        # depend on the number of views or on `boxes`.
        geometry = draw_geometry(rng, *image.shape[:2], self.crop_size)
        boxes = [draw_box(rng, self.crop_size, self.box) for _ in range(2)]
        weak = crop_image(image, geometry, self.crop_size)
        views = {"weak": weak, "valid": valid_mask(geometry, self.crop_size)}
        for number in range(1, self.strong_views + 1):
            views[f"strong{number}"] = strong_view(weak, rng, self.recipe)
        if self.boxes:
            views["boxes"] = np.stack(boxes[: self.strong_views])
        return views


def _nearest(length: int, new_length: int, start: int, count: int) -> np.ndarray:
    """The source pixels nearest to resized pixels, by their centres.

    Args:
        length: Number of source pixels.
        new_length: Number of resized pixels.
        start: The first resized pixel.
        count: The largest number of resized pixels.
    """
    positions = np.arange(start, min(start + count, new_length))
    return (2 * positions + 1) * length // (2 * new_length)
