"""Training on in spite of files that cannot be used: another entry of the list takes their place.

What takes the place depends on the list and the files alone, so threads, worker processes and
interruptions change nothing.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.sources.base import Source

# Name of the rows that tell which entries of a batch were replaced: by index, -1 = not replaced.
REPLACED = "replaced"


class SkippingSource:
    """A source whose unusable entries are replaced by the next one of its list that can be used.

    Args:
        source: The entries.
        max_bad: How many of them in a row may be unusable.
    """

    def __init__(self, source: Source, max_bad: int):
        self.name = source.name
        self.ids = source.ids
        self._source = source
        self._max_bad = max_bad

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """The element, and as 'replaced' the index where it stands for an unusable one, else -1."""
        index, error = int(index), None
        for distance in range(min(self._max_bad + 1, len(self))):
            try:
                element = self._source[(index + distance) % len(self)]
            except DataError as found:
                error = error or found
            else:
                return {**element, REPLACED: np.int64(index if distance else -1)}
        raise DataError(
            f"{error} Nor can those be used that follow it in {self.name}: data.max_bad = "
            f"{self._max_bad} is passed."
        )


@dataclasses.dataclass(frozen=True)
class SkippingViews:
    """Views of the elements of a `SkippingSource`, with 'replaced' beside them."""

    views: Callable[[dict, np.random.Generator], dict]

    def __call__(self, element: dict, rng: np.random.Generator) -> dict:
        return {**self.views(element, rng), REPLACED: element[REPLACED]}


def take_replaced(batch: dict[str, dict]) -> tuple[dict[str, dict], list[tuple[str, int]]]:
    """Separates a batch from the word on what was replaced in it.

    Args:
        batch: Rows by part and name.

    Returns:
        The batch without the rows 'replaced', and part and index of each unusable entry.
    """
    replaced = [
        (part, int(index))
        for part, arrays in batch.items()
        for index in arrays.get(REPLACED, ())
        if index >= 0
    ]
    batch = {
        part: {name: rows for name, rows in arrays.items() if name != REPLACED}
        for part, arrays in batch.items()
    }
    return batch, replaced
