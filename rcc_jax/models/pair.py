"""Two networks that are trained together, of which the first predicts."""

from typing import Any

import jax
from flax import nnx


class Pair(nnx.Module):
    """Two networks as one module, with one optimizer; called like the first.

    Args:
        main: The network that predicts, is evaluated and exported.
        second: The other one.
    """

    def __init__(self, main: nnx.Module, second: nnx.Module):
        self.main: Any = main
        self.second: Any = second

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Logits of `main`."""
        return self.main(images, train=train)

    def encode(self, images: jax.Array, *, train: bool) -> Any:
        """Features of `main`."""
        return self.main.encode(images, train=train)

    def decode(self, features: Any, size: tuple[int, int], *, train: bool) -> jax.Array:
        """Logits of `main` from its features."""
        return self.main.decode(features, size, train=train)
