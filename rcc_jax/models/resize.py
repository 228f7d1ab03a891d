"""Bilinear resizing on the grid whose corners coincide (align_corners=True), as two products."""

from typing import Any

import jax
import jax.numpy as jnp


def interpolation_matrix(
    in_size: Any, out_size: Any, dtype: Any = jnp.float32, *, shape: tuple[int, int] | None = None
) -> jax.Array:
    """Weights of the `in_size` samples in each of `out_size` samples between the same end points.

    Output o lies at o * (in_size - 1) / (out_size - 1) of the input, a single output at 0.
    Computed from the sizes with jnp, so that either may be a symbolic dimension of `jax.export`.

    Args:
        in_size: Number of input samples, at least 1.
        out_size: Number of output samples, at least 1.
        dtype: Floating type of the weights.
        shape: Rows and columns of the matrix where there are more than samples; then the sizes may
            be traced, too.

    Returns:
        Matrix [out_size, in_size] whose rows sum to 1, with at most two entries in each; zeros in
        what `shape` has beyond that.

    >>> interpolation_matrix(2, 3).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    # Integer division places every sample exactly; in floating point the last one can miss the
    # edge. The products fit int32 for any sizes below 46,340.
    steps = jnp.maximum(jnp.asarray(out_size, jnp.int32) - 1, 1)
    span = jnp.asarray(in_size, jnp.int32) - 1
    rows, columns = (out_size, in_size) if shape is None else shape
    scaled = jnp.arange(rows, dtype=jnp.int32) * span
    left = (scaled // steps)[:, None]
    fraction = ((scaled % steps).astype(dtype) / steps.astype(dtype))[:, None]
    source = jnp.arange(columns, dtype=jnp.int32)[None, :]
    zero = jnp.zeros((), dtype)
    matrix = jnp.where(source == left, 1 - fraction, zero) + jnp.where(
        source == left + 1, fraction, zero
    )
    if shape is None:
        return matrix
    return jnp.where(jnp.arange(rows, dtype=jnp.int32)[:, None] < out_size, matrix, zero)


def resize_bilinear(images: jax.Array, size: tuple[Any, ...]) -> jax.Array:
    """Resizes the two middle axes bilinearly with aligned corners.

    Unlike `jax.image.resize`, which puts pixels on half-integers and smooths when it shrinks, this
    is PyTorch's `interpolate(mode='bilinear', align_corners=True)`. A value that is not finite
    spoils its whole row and column, since the weights of all others are 0, not absent.

    Args:
        images: Floating array, [B, H, W, C].
        size: (height, width) of the result in pixels; either may be symbolic.

    Returns:
        Array [B, height, width, C] of the type of `images`, computed in at least float32.

    >>> resize_bilinear(jnp.array([[[[0.0], [1.0]]]]), (1, 3)).ravel().tolist()
    [0.0, 0.5, 1.0]
    """
    dtype = jnp.promote_types(images.dtype, jnp.float32)
    rows = interpolation_matrix(images.shape[1], size[0], dtype)
    columns = interpolation_matrix(images.shape[2], size[1], dtype)
    return resample(images, rows, columns)


def resample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Multiplies the two middle axes by matrices.

    Args:
        images: Floating array, [B, H, W, C].
        rows, columns: Weights [height, H] and [width, W], or ones for each image, [B, height, H]
            and [B, width, W].

    Returns:
        Array [B, height, width, C] of the type of `images`, computed in that of the matrices.
    """
    each = "b" if rows.ndim == 3 else ""
    # Accelerators multiply float32 with 8 or 11 bits unless told to keep them all; logits that are
    # compared with a threshold, or ranked, need them.
    precision = jax.lax.Precision.HIGHEST
    x = images.astype(rows.dtype)
    x = jnp.einsum(f"{each}oh,bhwc->bowc", rows, x, precision=precision)
    x = jnp.einsum(f"{each}pw,bowc->bopc", columns, x, precision=precision)
    return x.astype(images.dtype)
