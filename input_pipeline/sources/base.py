"""The interface of all sources of images, with or without masks."""

from typing import Protocol

import numpy as np

from input_pipeline.sources.string_table import StringTable


class Source(Protocol):
    """What grain and the checks require of a source.

    `source[i]` is {'image': uint8 [H, W, 3]}, and a labelled source adds 'label': uint8 [H, W].
    `image_size(i)` is the height and width of image i, found without decoding its pixels.

    Attributes:
        ids: A name for every entry; entries of the same name are the same image.
        name: The setting that defines the source, and its value, for messages.
    """

    ids: StringTable
    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, np.ndarray]: ...

    def image_size(self, index: int) -> tuple[int, int]: ...
