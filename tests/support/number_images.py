"""A source whose images are numbers, so that a test sees which of them a batch holds."""

import numpy as np

from input_pipeline import Partition
from input_pipeline.sources.string_table import StringTable

# Arguments of `train_stream` for small batches.
SETTINGS = {
    "seed": 3,
    "crop_size": 48,
    "labeled_batch_size": 4,
    "unlabeled_batch_size": 6,
    "num_steps": 5,
}


class Numbers:
    """A source whose image i is filled with i; it counts reads."""

    name = "numbers"

    def __init__(self, count: int, labeled: bool = False):
        self.ids = StringTable(str(number) for number in range(count))
        self.reads = 0
        self._labeled = labeled

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict:
        self.reads += 1
        image = np.full((8, 8, 3), index, np.uint8)
        return {"image": image, "label": image[..., 0]} if self._labeled else {"image": image}


def numbers(labeled: int, unlabeled: int) -> Partition:
    sources = Numbers(labeled, True), Numbers(unlabeled), Numbers(1, True)
    return Partition(*sources, num_classes=255, class_names=())
