"""Networks as Flax NNX modules, by family, and their pretrained weights."""

import importlib
from typing import Any

from rcc_jax.models.families import BACKBONES

__all__ = ["BACKBONES", "STEMS", "DeepLabV3Plus"]
_LAZY = {"DeepLabV3Plus": "deeplabv3plus", "STEMS": "resnet"}


def __getattr__(name: str) -> Any:
    # On first use: the table of families can be read without JAX.
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
