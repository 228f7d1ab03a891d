"""A picture of the training inputs: labelled and unlabelled images, views, CutMix."""

from collections.abc import Mapping

import cv2
import numpy as np

from input_pipeline.batches.boxes import box_mask
from input_pipeline.batches.views import (
    LabeledViews,
    UnlabeledViews,
    draw_geometry,
    valid_mask,
)
from input_pipeline.partitions.partition import Partition
from rcc_jax.reporting import sheets
from rcc_jax.reporting.sheets import SIDE, fit

BOX_COLOR = (255, 255, 0)


def draw(
    partition: Partition,
    usable: Mapping[str, np.ndarray],
    *,
    crop_size: int,
    views: UnlabeledViews | None,
    cutmix_partner: str = "other",
    seed: int,
    palette: np.ndarray,
    rows: int = 4,
) -> np.ndarray | None:
    """Draws a few training examples; each row has a labelled and an unlabelled one.

    The views are made as in training, from separate random draws: the labelled crop, its mask, both
    blended; the weak view, the strong views, the strong views with the box of another image
    (CutMix). Padding is black in training and white here.

    Args:
        partition: The data.
        usable: Which entries of 'labeled' and 'unlabeled' can be read, bool [N].
        crop_size: Side of the views in pixels.
        views: Makes the views of the unlabelled images; None leaves them out.
        cutmix_partner: 'other' or 'same', as for `input_pipeline.train_stream`.
        seed: Seed of the draws.
        palette: Colours of the ids, uint8 [256, 3].
        rows: Number of rows; there are fewer if there are fewer images.

    Returns:
        The sheet, uint8 [H, W, 3]; None if no image can be read.
    """
    labeled = _choose(usable["labeled"], rows)
    unlabeled = _choose(usable["unlabeled"], 2 * rows) if views else []
    blank = np.full((SIDE, SIDE, 3), 255, np.uint8)
    strong_views = views.strong_views if views else 0
    numbers = range(1, strong_views + 1)
    titles = ["crop", "mask", "both"]
    groups = [(f"labelled images, crops of {crop_size} x {crop_size} pixels", len(titles))]
    if views:
        own_titles = ["weak", *(f"strong {n}" for n in numbers)]
        if views.box != "none":
            own_titles += [f"CutMix {n}" for n in numbers]
        groups.append(("unlabelled images", len(own_titles)))
        titles += own_titles
    sheet = []
    for row in range(min(rows, max(len(labeled), len(unlabeled) // 2))):
        pictures = []
        if row < len(labeled):
            pictures += _labeled_pictures(
                partition.labeled[labeled[row]], [seed, 0, row], crop_size, palette
            )
        pictures += [blank] * (3 - len(pictures))
        if views and 2 * row + 1 < len(unlabeled):
            other = 1 if cutmix_partner == "other" else 0
            own, partner = (
                views(
                    partition.unlabeled[unlabeled[2 * row + i * other]],
                    np.random.default_rng([seed, 1, 2 * row + i]),
                )
                for i in range(2)
            )
            shown = _unlabeled_pictures(own, partner, strong_views)
            pictures += shown[: len(titles) - 3]
        sheet.append(pictures + [blank] * (len(titles) - len(pictures)))
    if not sheet:
        return None
    more = {"ignored, padding": sheets.IGNORED_COLOR}
    legend = sheets.legend(partition.class_names, palette, more)
    return sheets.sheet(sheet, titles, groups=groups, **legend)


def _choose(usable: np.ndarray, count: int) -> list[int]:
    """Indices of up to `count` readable entries, spread evenly."""
    places = np.flatnonzero(usable)
    chosen = np.linspace(0, len(places) - 1, min(count, len(places))).astype(int)
    return places[chosen].tolist()


def _labeled_pictures(element: dict, seed: list, crop_size: int, colors) -> list[np.ndarray]:
    example = LabeledViews(crop_size)(element, np.random.default_rng(seed))
    # Repeats the draw, to know where the crop leaves the image.
    geometry = draw_geometry(np.random.default_rng(seed), *element["image"].shape[:2], crop_size)
    image = _shown(example["image"], valid_mask(geometry, crop_size))
    mask = sheets.colorize(fit(example["label"], cv2.INTER_NEAREST), colors)
    return [image, mask, cv2.addWeighted(image, 0.5, mask, 0.5, 0)]


def _unlabeled_pictures(own: dict, partner: dict, strong_views: int) -> list[np.ndarray]:
    plain, mixed = [_shown(own["weak"], own["valid"])], []
    for number in range(1, strong_views + 1):
        strong, valid = own[f"strong{number}"], own["valid"].copy()
        plain.append(_shown(strong, valid))
        box = own["boxes"][number - 1]
        inside = box_mask(box, len(strong))
        pasted = strong.copy()
        pasted[inside], valid[inside] = partner[f"strong{number}"][inside], partner["valid"][inside]
        picture = _shown(pasted, valid)
        for top, left, bottom, right in box.reshape(-1, 4).tolist():
            if bottom > top:
                scale = SIDE / len(pasted)
                corners = [round(place * scale) for place in (left, top, right - 1, bottom - 1)]
                cv2.rectangle(picture, corners[:2], corners[2:], BOX_COLOR)
        mixed.append(picture)
    return plain + mixed


def _shown(view: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """A view at the size of the sheet's pictures, with white padding."""
    return fit(np.where(valid[..., None], view, np.uint8(255)), cv2.INTER_AREA)
