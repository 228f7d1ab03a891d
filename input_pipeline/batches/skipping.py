"""Training despite files that cannot be used: other entries of the list replace them.

The replacements depend only on the list and the files, not on threads, worker processes and
interruptions.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.sources.base import Source

# Name of the array that says, for each row of a batch, which unusable entry it replaces (its
# index), or -1 if it replaces none.
REPLACED = "replaced"


class SkippingSource:
    """A source that replaces an unusable entry by the next usable one of its list.

    Args:
        source: The entries.
        max_bad: How many consecutive entries may be unusable.
    """

    def __init__(self, source: Source, max_bad: int):
        self.name = source.name
        self.ids = source.ids
        self._source = source
        self._max_bad = max_bad

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """The element with 'replaced': `index` if another element is returned instead, else -1.

        Raises:
            DataError: The entry cannot be used, and neither can `max_bad` entries after it.
        """
        index, error = int(index), None
        for distance in range(min(self._max_bad + 1, len(self))):
            try:
                element = self._source[(index + distance) % len(self)]
            except DataError as found:
                error = error or found
            else:
                return {**element, REPLACED: np.int64(index if distance else -1)}
        raise DataError(
            f"{error} The entries after it in {self.name} cannot be used either; that is more "
            f"in a row than data.max_bad = {self._max_bad} allows."
        )


@dataclasses.dataclass(frozen=True)
class SkippingViews:
    """Makes views of the elements of a `SkippingSource` and keeps their 'replaced'."""

    views: Callable[[dict, np.random.Generator], dict]

    def __call__(self, element: dict, rng: np.random.Generator) -> dict:
        return {**self.views(element, rng), REPLACED: element[REPLACED]}


def take_replaced(batch: dict[str, dict]) -> tuple[dict[str, dict], list[tuple[str, int]]]:
    """Removes the arrays 'replaced' from a batch.

    Args:
        batch: Arrays by part and name.

    Returns:
        The batch without these arrays, and the part and index of each unusable entry.
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
