"""A picture of what a network is given: labelled and unlabelled images, views, CutMix."""

from collections.abc import Mapping

import cv2
import numpy as np

from input_pipeline.partitions import Partition
from input_pipeline.views import LabeledViews, UnlabeledViews
from rcc_jax import visualization
from rcc_jax.visualization import SIDE, fit

BOX_COLOR = (255, 255, 0)


def draw(
    partition: Partition,
    usable: Mapping[str, np.ndarray],
    *,
    crop_size: int,
    strong_views: int,
    seed: int,
    rows: int = 4,
) -> np.ndarray | None:
    """Draws a few training examples, one of each part a row.

    The views are those of training, with draws of their own: labelled crop, its mask, both, and
    weak view, strong views and strong views with the box of another image (CutMix).

    Args:
        partition: the data.
        usable: for 'labeled' and 'unlabeled' which entries can be read, bool [N].
        crop_size: side of the views, pixels.
        strong_views: 0 leaves the unlabelled images out, 1 or 2.
        seed: of the draws.
        rows: number of rows, fewer where there are fewer images.

    Returns:
        The sheet, uint8 [H, W, 3]; None where no image can be read.
    """
    labeled = _choose(usable["labeled"], rows)
    unlabeled = _choose(usable["unlabeled"], 2 * rows) if strong_views else []
    blank = np.full((SIDE, SIDE, 3), 255, np.uint8)
    numbers = range(1, strong_views + 1)
    titles = ["labelled", "mask", "both"]
    if strong_views:
        titles += ["weak", *(f"strong {n}" for n in numbers), *(f"CutMix {n}" for n in numbers)]
    colors = visualization.palette(partition.num_classes)
    sheet = []
    for row in range(min(rows, max(len(labeled), len(unlabeled) // 2))):
        pictures = []
        if row < len(labeled):
            rng = np.random.default_rng([seed, 0, row])
            example = LabeledViews(crop_size)(partition.labeled[labeled[row]], rng)
            pictures += _labeled_pictures(example, colors)
        pictures += [blank] * (3 - len(pictures))
        if 2 * row + 1 < len(unlabeled):
            own, partner = (
                UnlabeledViews(crop_size, strong_views, boxes=True)(
                    partition.unlabeled[unlabeled[2 * row + i]],
                    np.random.default_rng([seed, 1, 2 * row + i]),
                )
                for i in range(2)
            )
            pictures += _unlabeled_pictures(own, partner, strong_views)
        sheet.append(pictures + [blank] * (len(titles) - len(pictures)))
    if not sheet:
        return None
    return visualization.sheet(sheet, titles, class_names=partition.class_names, palette=colors)


def _choose(usable: np.ndarray, count: int) -> list[int]:
    """Up to count entries that can be read, spread evenly."""
    places = np.flatnonzero(usable)
    chosen = np.linspace(0, len(places) - 1, min(count, len(places))).astype(int)
    return places[chosen].tolist()


def _labeled_pictures(example: dict, colors: np.ndarray) -> list[np.ndarray]:
    image = fit(example["image"], cv2.INTER_AREA)
    mask = visualization.colorize(fit(example["label"], cv2.INTER_NEAREST), colors)
    return [image, mask, cv2.addWeighted(image, 0.5, mask, 0.5, 0)]


def _unlabeled_pictures(own: dict, partner: dict, strong_views: int) -> list[np.ndarray]:
    plain, mixed = [fit(own["weak"], cv2.INTER_AREA)], []
    for number in range(1, strong_views + 1):
        strong = own[f"strong{number}"]
        plain.append(fit(strong, cv2.INTER_AREA))
        top, left, bottom, right = own["boxes"][number - 1].tolist()
        pasted = strong.copy()
        pasted[top:bottom, left:right] = partner[f"strong{number}"][top:bottom, left:right]
        picture = fit(pasted, cv2.INTER_AREA)
        if bottom > top:
            scale = SIDE / len(pasted)
            corners = [round(place * scale) for place in (left, top, right - 1, bottom - 1)]
            cv2.rectangle(picture, corners[:2], corners[2:], BOX_COLOR)
        mixed.append(picture)
    return plain + mixed
