"""Modules that are imported when a method is first used.

The fields of every method can be read without JAX, whose import takes a second and whose use takes
all memory of a GPU. Therefore the files of the methods import JAX, and modules that need it, from
here.
"""

import importlib
from types import ModuleType
from typing import Any


class _Lazy(ModuleType):
    """A placeholder for a module; the first use of an attribute imports the module."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


jax: Any = _Lazy("jax")
jnp: Any = _Lazy("jax.numpy")
consensus: Any = _Lazy("rcc_jax.consensus")
contrast: Any = _Lazy("rcc_jax.methods.contrast")
cutmix: Any = _Lazy("rcc_jax.methods.cutmix")
layers: Any = _Lazy("rcc_jax.models.layers")
pair: Any = _Lazy("rcc_jax.models.pair")
losses: Any = _Lazy("rcc_jax.methods.losses")
passes: Any = _Lazy("rcc_jax.methods.passes")
pseudo: Any = _Lazy("rcc_jax.methods.pseudo")
representation: Any = _Lazy("rcc_jax.models.representation")
ring: Any = _Lazy("rcc_jax.methods.ring")
