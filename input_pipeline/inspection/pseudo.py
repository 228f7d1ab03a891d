"""Reads every pseudo mask that a training would use, and collects all faults."""

import dataclasses
from collections.abc import Callable

import numpy as np

from input_pipeline import findings
from input_pipeline.batches.evaluation import decode_ahead
from input_pipeline.errors import DataError
from input_pipeline.findings import Inspection, Part
from input_pipeline.partitions.pseudo_masks import PseudoSource


def inspect_masks(
    source: PseudoSource,
    found: Inspection,
    *,
    num_threads: int,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Adds the part 'pseudo' and a line for each mask that cannot be used.

    Args:
        source: The masks; the faults of their images are those of the unlabelled part.
        found: The inspection to add to.
        num_threads: Threads that decode.
        progress: Called after each mask.
    """
    usable = np.ones(len(source), bool)
    for index, fault in enumerate(decode_ahead(_Faults(source), num_threads)):
        if fault:
            usable[index] = False
            found.errors[findings.PSEUDO].add("pseudo", fault)
        progress()
    found.parts["pseudo"] = Part(source.name, usable, np.zeros(len(source), np.uint64))


@dataclasses.dataclass(frozen=True)
class _Faults:
    """A source whose elements are the faults of masks, '' for none."""

    source: PseudoSource

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> str:
        if not self.source.mask_path(index).is_file():
            return (
                f"{self.source.mask_path(index)}: no pseudo mask of {self.source.ids[index]}; "
                "--mode=label or the sweep makes it."
            )
        try:
            size = self.source.image_size(index)
        except DataError:
            size = None
        try:
            self.source.read_mask(index, size)
        except DataError as error:
            return str(error)
        return ""
