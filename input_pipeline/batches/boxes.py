"""CutMix boxes and their laws.

The law 'unimatch' is that of UniMatch (Yang et al., CVPR 2023). A new law is a function
(rng, crop_size) -> box and an entry of `BOXES`.
"""

import numpy as np

from input_pipeline.batches.arguments import check_choice

BOX_PROBABILITY = 0.5
BOX_AREA = (0.02, 0.4)  # As a fraction of the crop.
BOX_RATIO = (0.3, 1 / 0.3)  # Height / width.


def draw_box(rng: np.random.Generator, crop_size: int, box: str = "unimatch") -> np.ndarray:
    """Draws a CutMix box that lies within the crop, or none.

    Args:
        rng: The random numbers.
        crop_size: Side of the crop.
        box: The law of the box, a name in `BOXES`.

    Returns:
        int32 [4]: y0, x0, y1, x1, ends excluded; all zeros for no box. A law of several boxes
        returns int32 [N, 4]; the partner is pasted where an odd number of them overlap.

    Raises:
        ValueError: There is no such law.
    """
    check_choice(box=(box, BOXES))
    return BOXES[box](rng, crop_size)


def box_mask(box: np.ndarray, crop_size: int) -> np.ndarray:
    """Where a result of `draw_box` pastes the partner, bool [crop_size, crop_size]."""
    mask = np.zeros((crop_size, crop_size), bool)
    for top, left, bottom, right in box.reshape(-1, 4):
        mask[top:bottom, left:right] ^= True
    return mask


def no_box(rng: np.random.Generator, crop_size: int) -> np.ndarray:
    """The box law 'none': never a box, so strong views are not mixed."""
    return np.zeros(4, np.int32)


def unimatch_box(rng: np.random.Generator, crop_size: int) -> np.ndarray:
    """The box law of UniMatch: a box of random area and ratio, or none."""
    if rng.random() >= BOX_PROBABILITY:
        return no_box(rng, crop_size)
    area = rng.uniform(*BOX_AREA) * crop_size**2
    while True:  # UniMatch too draws again if the shape or place does not fit.
        ratio = rng.uniform(*BOX_RATIO)
        height, width = max(1, int((area * ratio) ** 0.5)), max(1, int((area / ratio) ** 0.5))
        top, left = (int(x) for x in rng.integers(0, crop_size, 2))
        if top + height <= crop_size and left + width <= crop_size:
            return np.array([top, left, top + height, left + width], np.int32)


def half_area_box(rng: np.random.Generator, crop_size: int) -> np.ndarray:
    """The box law of CutMix-Seg (French et al., BMVC 2020): always a box, of half the area.

    The height is 0.5^u of the crop, u uniform in [0, 1), and the width follows from the area; the
    place is uniform among those within the crop.
    """
    return _box_of_area(rng, crop_size, 0.5)


def toggled_boxes(rng: np.random.Generator, crop_size: int) -> np.ndarray:
    """The box law of CPS with CutMix (Chen et al., CVPR 2021): always three boxes, int32 [3, 4].

    Each is a box as in `half_area_box`, of an area that is uniform in [0.25, 0.5), and then shrunk
    so that all three together have the area of one.
    """
    areas = rng.uniform(0.25, 0.5, 3)
    return np.stack([_box_of_area(rng, crop_size, area, 3**-0.5) for area in areas])


def _box_of_area(
    rng: np.random.Generator, crop_size: int, area: float, scale: float = 1.0
) -> np.ndarray:
    share = area ** rng.random()
    height, width = (max(1, round(crop_size * scale * side)) for side in (share, area / share))
    top, left = (int(rng.integers(0, crop_size - side + 1)) for side in (height, width))
    return np.array([top, left, top + height, left + width], np.int32)


BOXES = {
    "none": no_box,
    "unimatch": unimatch_box,
    "half_area": half_area_box,
    "toggled": toggled_boxes,
}
