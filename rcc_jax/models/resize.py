"""Bilinear resizing with aligned corners (align_corners=True), as two matrix products."""

import functools
from typing import Any

import jax
import jax.numpy as jnp


def interpolation_matrix(
    in_size: Any, out_size: Any, dtype: Any = jnp.float32, *, shape: tuple[int, int] | None = None
) -> jax.Array:
    """Matrix of linear interpolation from `in_size` to `out_size` samples with equal end points.

    Output o lies at input position o * (in_size - 1) / (out_size - 1); a single output lies at 0.
    It is computed with jnp, so either size may be a symbolic dimension of `jax.export`.

    Args:
        in_size: Number of input samples, at least 1.
        out_size: Number of output samples, at least 1.
        dtype: Floating type of the weights.
        shape: Rows and columns of the matrix, at least the sizes; the sizes may then be traced.

    Returns:
        Matrix [out_size, in_size] whose rows sum to 1, with at most two entries each; entries of a
        larger `shape` are zero.

    >>> interpolation_matrix(2, 3).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    # Integer division places every sample exactly; in floating point the last one may miss the
    # edge. The products fit in int32 for sizes below 46,340.
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

    This is PyTorch's `interpolate(mode='bilinear', align_corners=True)`, unlike `jax.image.resize`,
    which puts pixels on half-integers and smooths when it shrinks. A value that is not finite
    spreads over its whole row and column, because it is multiplied by weights of 0.

    Args:
        images: Floating array, [B, H, W, C].
        size: (height, width) of the result in pixels; either may be symbolic.

    Returns:
        Array [B, height, width, C] of the dtype of `images`, computed in at least float32.

    >>> resize_bilinear(jnp.array([[[[0.0], [1.0]]]]), (1, 3)).ravel().tolist()
    [0.0, 0.5, 1.0]
    """
    dtype = jnp.promote_types(images.dtype, jnp.float32)
    rows = interpolation_matrix(images.shape[1], size[0], dtype)
    columns = interpolation_matrix(images.shape[2], size[1], dtype)
    return resample(images, rows, columns)


def resize_each(
    images: jax.Array, before: jax.Array, after: jax.Array, size: tuple[Any, ...]
) -> jax.Array:
    """Applies `resize_bilinear` to each image of a padded batch.

    Args:
        images: Floating array, [B, H, W, C], with each image in the upper left corner of its row.
        before: Height and width of each image, int [B, 2], at least 1; may be traced.
        after: Height and width that each image gets, int [B, 2]; may be traced.
        size: (height, width) of the result in pixels, at least as large as all `after`.

    Returns:
        Array [B, height, width, C] of the dtype of `images`; zero outside the resized images.
    """
    dtype = jnp.promote_types(images.dtype, jnp.float32)
    rows, columns = (
        jax.vmap(
            functools.partial(
                interpolation_matrix, dtype=dtype, shape=(size[axis], images.shape[1 + axis])
            )
        )(before[:, axis], after[:, axis])
        for axis in (0, 1)
    )
    return resample(images, rows, columns)


def resample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Multiplies the two middle axes by matrices.

    Args:
        images: Floating array, [B, H, W, C].
        rows: Weights [height, H], or one matrix per image, [B, height, H].
        columns: Weights [width, W], or one matrix per image, [B, width, W].

    Returns:
        Array [B, height, width, C] of the dtype of `images`, computed in that of the matrices.
    """
    each = "b" if rows.ndim == 3 else ""
    # By default accelerators multiply float32 with 8 or 11 bits, too few for logits that are ranked
    # or compared with a threshold.
    precision = jax.lax.Precision.HIGHEST
    x = images.astype(rows.dtype)
    x = jnp.einsum(f"{each}oh,bhwc->bowc", rows, x, precision=precision)
    x = jnp.einsum(f"{each}pw,bowc->bopc", columns, x, precision=precision)
    return x.astype(images.dtype)
