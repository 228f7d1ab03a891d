"""Mirroring and resizing of batches whose rows may be padded, each row within its true size."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rcc_jax.models.network import nearest_multiple
from rcc_jax.models.resize import resample


def scaled(sizes: np.ndarray, scale: float) -> np.ndarray:
    """Scales heights and widths, int of any shape: at least 1, halves rounded to even.

    >>> scaled(np.array([[1, 10], [3, 11]]), 0.5).tolist()
    [[1, 5], [2, 6]]
    """
    return np.maximum(1, np.rint(scale * np.asarray(sizes))).astype(np.int32)


def seen_sizes(
    size: tuple[int, int], scales: Sequence[float], multiple: int
) -> tuple[tuple[int, ...], ...]:
    """Heights and widths at which a network that takes multiples of a number sees an image.

    Args:
        size: Height and width of the image.
        scales: Factors on both, each of which makes a view of the image.
        multiple: The views are resized to the nearest multiples of this.

    >>> seen_sizes((375, 500), (1.0, 0.5), 14)
    ((378, 504), (182, 252))
    """
    return tuple(
        tuple(
            nearest_multiple(length, multiple) for length in scaled(np.array(size), scale).tolist()
        )
        for scale in scales
    )


def mirror(images: jax.Array, sizes: jax.Array | None) -> jax.Array:
    """Reverses the columns.

    Args:
        images: [B, H, W, C].
        sizes: True height and width of each row, [B, 2]; padding stays in place. None if no row is
            padded.
    """
    if sizes is None:
        return images[:, :, ::-1]
    columns = jnp.arange(images.shape[2], dtype=jnp.int32)[None]
    widths = sizes[:, 1, None]
    source = jnp.where(columns < widths, widths - 1 - columns, columns)
    return jnp.take_along_axis(images, source[:, None, :, None], axis=2)


def resize(
    images: jax.Array,
    before: jax.Array | None,
    after: jax.Array | None,
    *,
    size: tuple[int, int],
) -> jax.Array:
    """Resizes bilinearly on pixel centres, with smoothing when it shrinks, as in training.

    Args:
        images: [B, H, W, C].
        before: True height and width of each row, [B, 2]. None if no row is padded.
        after: Height and width that each row gets, [B, 2]. None if no row is padded.
        size: Height and width of the result.

    Returns:
        float32 [B, *size, C]; padding is 0.
    """
    images = images.astype(jnp.float32)
    if before is None:
        shape = (len(images), *size, images.shape[-1])
        return jax.image.resize(images, shape, "linear", antialias=True)
    rows, columns = (
        jax.vmap(_smoothing_matrix, in_axes=(0, 0, None, None))(
            before[:, axis], after[:, axis], images.shape[1 + axis], size[axis]
        )
        for axis in (0, 1)
    )
    return resample(images, rows, columns)


def _smoothing_matrix(before, after, padded_before: int, padded_after: int) -> jax.Array:
    """Weights of `jax.image.resize` from `before` to `after` pixels; 0 for padding."""
    step = before.astype(jnp.float32) / after.astype(jnp.float32)
    center = (jnp.arange(padded_after, dtype=jnp.float32)[:, None] + 0.5) * step - 0.5
    pixel = jnp.arange(padded_before, dtype=jnp.int32)[None]
    distance = jnp.abs(center - pixel.astype(jnp.float32)) / jnp.maximum(step, 1)
    weights = jnp.where(pixel < before, jnp.maximum(0, 1 - distance), 0)
    # At the border fewer pixels contribute.
    weights = weights / jnp.maximum(weights.sum(axis=1, keepdims=True), 1e-3)
    return jnp.where(jnp.arange(padded_after)[:, None] < after, weights, 0)
