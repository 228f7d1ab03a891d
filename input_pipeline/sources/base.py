"""Random-access sources of images, with or without labels."""

from typing import Protocol

import numpy as np

from input_pipeline.sources.string_table import StringTable


class Source(Protocol):
    """What grain and the checks ask of a source.

    `source[i]` is {'image': uint8 [H, W, 3]}, with 'label': uint8 [H, W] where labelled.
    `image_size(i)` is its height and width, without decoding the pixels. `ids` names every
    entry; equal names are the same image. `name` is the setting and its value, for messages.
    """

    ids: StringTable
    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, np.ndarray]: ...

    def image_size(self, index: int) -> tuple[int, int]: ...
