"""Positions of images in a padded batch, so that the network treats each as if it were alone."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rcc_jax.models.resize import resize_bilinear, resize_each


class Extent:
    """The true sizes of the images of a batch, each of which lies in the upper left corner.

    A convolution pads with zeros, so it treats an image as if it were alone if everything outside
    the image is zero. Normalisation and pooling put other values there, so `clear` follows both.
    Means and resizing use only the pixels inside. A stride of 2 halves the sizes of images and
    batch alike, rounding up, so the stride of features follows from their shape.

    Without sizes each image fills its row, and nothing is added to the program.

    Args:
        sizes: Height and width of each image in pixels, int [B, 2], at least 1; may be traced.
        padded: Height and width of the batch, at least as large as all `sizes`.
    """

    def __init__(self, sizes: jax.Array | None = None, padded: tuple[int, int] = (0, 0)):
        self._sizes = sizes
        self._padded = padded

    def clear(self, x: jax.Array) -> jax.Array:
        """Sets features [B, h, w, C] of any stride to zero outside the images."""
        if self._sizes is None:
            return x
        heights, widths = self._sizes_at(self._sizes, x.shape[1:3])
        rows = jnp.arange(x.shape[1], dtype=jnp.int32)[None] < heights[:, None]
        columns = jnp.arange(x.shape[2], dtype=jnp.int32)[None] < widths[:, None]
        inside = rows[:, :, None, None] & columns[:, None, :, None]
        return jnp.where(inside, x, jnp.zeros((), x.dtype))

    def mean(self, x: jax.Array) -> jax.Array:
        """Mean over the pixels inside, from cleared features [B, h, w, C] to [B, 1, 1, C]."""
        if self._sizes is None:
            return jnp.mean(x, axis=(1, 2), keepdims=True)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        heights, widths = self._sizes_at(self._sizes, x.shape[1:3])
        total = jnp.sum(x, axis=(1, 2), keepdims=True, dtype=wide)
        return (total / (heights * widths).astype(wide).reshape(-1, 1, 1, 1)).astype(x.dtype)

    def resize(self, x: jax.Array, size: tuple[Any, ...]) -> jax.Array:
        """Applies `resize_bilinear` to the pixels inside; the result is zero outside."""
        if self._sizes is None:
            return resize_bilinear(x, size)
        before, after = (
            jnp.stack(self._sizes_at(self._sizes, shape), axis=1) for shape in (x.shape[1:3], size)
        )
        return resize_each(x, before, after, size)

    def _sizes_at(self, sizes: jax.Array, shape: Sequence[int]) -> list[jax.Array]:
        """Heights [B] and widths [B] of the images at the stride of features of this shape."""
        return [-(-sizes[:, axis] // _stride(self._padded[axis], shape[axis])) for axis in (0, 1)]


def _stride(full: int, length: int) -> int:
    stride = 1
    while -(-full // stride) > length:
        stride *= 2
    if -(-full // stride) != length:
        raise ValueError(
            f"features of {length} pixels do not fit an image of {full} pixels at any stride"
        )
    return stride


jax.tree_util.register_pytree_node(
    Extent,
    lambda extent: ((extent._sizes,), extent._padded),
    lambda padded, sizes: Extent(*sizes, padded),
)
WHOLE = Extent()
