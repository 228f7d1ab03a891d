"""Position embeddings of another number of patches, by bicubic interpolation as in DINOv2."""

from typing import Any

import jax
import jax.numpy as jnp

from rcc_jax.models.resize import resample

# The constant of PyTorch's cubic kernel.
_A = -0.75


def bicubic_matrix(
    in_size: int, out_size: Any, dtype: Any = jnp.float32, *, offset: float = 0.0
) -> jax.Array:
    """Matrix of bicubic interpolation from `in_size` to `out_size` samples on pixel centres.

    This is PyTorch's `interpolate(mode='bicubic', scale_factor=(out_size + offset) / in_size)`
    along one axis. It is computed with jnp, so `out_size` may be a symbolic dimension.

    Args:
        in_size: Number of input samples, at least 1.
        out_size: Number of output samples, at least 1.
        dtype: Floating type of the weights.
        offset: What DINOv2 adds to the number of output samples where it computes the scale.

    Returns:
        Matrix [out_size, in_size] whose rows sum to 1, with at most four entries each.

    >>> bicubic_matrix(2, 2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    step = in_size / (jnp.asarray(out_size, dtype) + offset)
    place = (jnp.arange(out_size, dtype=dtype) + 0.5) * step - 0.5
    first = jnp.floor(place) - 1
    source = jnp.arange(in_size, dtype=dtype)[None, :]
    matrix = jnp.zeros((out_size, in_size), dtype)
    for tap in range(4):
        # Taps beyond the border fall on the first or last sample, where their weights add up.
        at = first + tap
        inside = jnp.clip(at, 0, in_size - 1)[:, None] == source
        matrix += jnp.where(inside, _cubic(jnp.abs(place - at))[:, None], jnp.zeros((), dtype))
    return matrix


def _cubic(distance: jax.Array) -> jax.Array:
    near = ((_A + 2) * distance - (_A + 3)) * distance * distance + 1
    far = ((distance - 5) * distance + 8) * distance * _A - 4 * _A
    return jnp.where(distance <= 1, near, far)


def resize_positions(table: jax.Array, grid: tuple[Any, Any], *, offset: float) -> jax.Array:
    """The position embeddings of a grid of patches.

    As in DINOv2, a grid of the table's own size keeps the table; for any other one the scale of
    each axis is (size + offset) / side.

    Args:
        table: Embeddings of a square grid, [side, side, D].
        grid: Rows and columns of patches; either may be symbolic.
        offset: 0.1 in DINOv2; 0 for an interpolation to the exact size.

    Returns:
        Array [rows, columns, D].

    References:
        Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024.
    """
    side = table.shape[0]
    own = [jnp.asarray(size, jnp.int32) == side for size in grid]
    if all(isinstance(size, int) for size in grid) and grid == (side, side):
        return table
    matrices = []
    for size in grid:
        matrix = bicubic_matrix(side, size, table.dtype, offset=offset)
        same = bicubic_matrix(side, size, table.dtype)
        matrices.append(jnp.where(own[0] & own[1], same, matrix))
    return resample(table[None], *matrices)[0]
