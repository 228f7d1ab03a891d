"""Modules that are imported when a method is first used.

The fields of every method can be read without JAX, which takes a second to import and, on a GPU,
all of its memory. So the files of the methods import JAX, and what needs it, through here.
"""

import importlib
from types import ModuleType
from typing import Any


class _Lazy(ModuleType):
    """Stands for a module; the first use of one of its attributes imports it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


jax: Any = _Lazy("jax")
jnp: Any = _Lazy("jax.numpy")
consensus: Any = _Lazy("rcc_jax.consensus")
cutmix: Any = _Lazy("rcc_jax.methods.cutmix")
layers: Any = _Lazy("rcc_jax.models.layers")
losses: Any = _Lazy("rcc_jax.methods.losses")
passes: Any = _Lazy("rcc_jax.methods.passes")
