"""The recipes of AugSeg and iMAS: a few operations, drawn with replacement from a list.

Sources: Zhao et al., Augmentation Matters (AugSeg), CVPR 2023; Zhao et al., Instance-specific and
Model-adaptive Supervision (iMAS), CVPR 2023; numbers as in the code of both. As in that code,
the operations are Pillow's. iMAS then blends strong and weak view by the score of the image, which
needs the networks and so is not part of the recipe.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from input_pipeline.batches import operations

BLUR_SIGMA = (0.1, 2.0)
LEAST_BITS = 4  # Of 8, posterize keeps at least these.
LARGEST_TURN = 0.5  # Of the full circle of hues, in either direction.


@dataclasses.dataclass(frozen=True)
class RandomOperations:
    """A recipe: some operations, each drawn from all with equal probability, one after another.

    Attributes:
        counts: The fewest and the most operations of a view; each number has equal probability.
        operations: Functions of `operations`.
        factors: The range of the factor of contrast, brightness, colour and sharpness, within
            [0, 1]: these operations only weaken.
        strength: The strongest amount that is drawn, as a share of the strongest of the range.
    """

    counts: tuple[int, int]
    operations: tuple[Callable, ...]
    factors: tuple[float, float]
    strength: float = 1.0

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Changes an image, uint8 [H, W, 3]; the result may be the image itself."""
        for operation, amounts in self.draw(rng):
            image = operation(image, *amounts)
        return image

    def draw(self, rng: np.random.Generator) -> list[tuple[Callable, tuple]]:
        """Draws the operations of one view, with their amounts."""
        count = rng.integers(self.counts[0], self.counts[1] + 1)
        indices = rng.integers(0, len(self.operations), count)
        drawn = [self.operations[index] for index in indices]
        return [(operation, self._draw_amounts(operation, rng)) for operation in drawn]

    def _draw_amounts(self, operation: Callable, rng: np.random.Generator) -> tuple:
        if operation in _WITHOUT_AMOUNT:
            return ()
        if operation in _WITH_FACTOR:
            low, high = self.factors
            # The largest factor, which changes least, is never drawn.
            return (rng.uniform(high - self.strength * (high - low), high),)
        amount = self.strength * rng.random()
        if operation is operations.blur:
            low, high = BLUR_SIGMA
            return (low + (high - low) * amount,)
        if operation is operations.posterize:
            return (8 - max(1, math.ceil((8 - LEAST_BITS) * amount)),)
        if operation is operations.solarize:
            return (256 - max(1, math.ceil(255 * amount)),)
        if operation is operations.hue:
            return (LARGEST_TURN * amount * (-1 if rng.random() < 0.5 else 1),)
        raise ValueError(f"{operation.__name__}: its amount has no law.")


_WITHOUT_AMOUNT = (
    operations.identity,
    operations.autocontrast,
    operations.equalize,
    operations.invert,
)
_WITH_FACTOR = (
    operations.contrast,
    operations.brightness,
    operations.color,
    operations.sharpness,
)
_OF_AUGSEG = (
    operations.identity,
    operations.autocontrast,
    operations.equalize,
    operations.blur,
    *_WITH_FACTOR,
    operations.posterize,
    operations.solarize,
    operations.hue,
)

AUGSEG = RandomOperations(counts=(1, 3), operations=_OF_AUGSEG, factors=(0.05, 0.95))
IMAS = RandomOperations(
    counts=(2, 2),
    operations=(*_OF_AUGSEG, operations.invert),
    factors=(0.1, 0.95),
    strength=0.999,
)
