"""The stem's max pooling, in the form that is fastest on the platform."""

import jax
import jax.numpy as jnp
from flax import nnx


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 3x3 windows at stride 2, padded with one pixel of -inf.

    On a CPU the maximum is taken along each axis in turn, with the same result and the same
    gradient, which goes to the first of equal maxima: XLA's own gradient carries an index for
    every pixel, which is slow.

    Args:
        x: Features, [B, H, W, C].

    Returns:
        [B, ceil(H / 2), ceil(W / 2), C].
    """
    # With symbolic sizes (jax.export) only XLA's form can be traced.
    if jax.default_backend() == "cpu" and all(isinstance(size, int) for size in x.shape):
        return _axis_by_axis(x)
    return nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


@jax.custom_vjp
def _axis_by_axis(x: jax.Array) -> jax.Array:
    return _pool(_pool(x, 2), 1)


def _forward(x):
    return _axis_by_axis(x), x


def _backward(x, dy):
    rows = _pool(x, 2)
    return (_gradient(x, rows, _gradient(rows, _pool(rows, 1), dy, 1), 2),)


_axis_by_axis.defvjp(_forward, _backward)


def _pool(x: jax.Array, axis: int) -> jax.Array:
    before, centre, after = _taps(x, axis)
    return jnp.maximum(jnp.maximum(before, centre), after)


def _taps(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The values at 2i - 1, 2i and 2i + 1 for each output i along an axis."""
    size = x.shape[axis]
    outputs = -(-size // 2)
    around = [(0, 0)] * x.ndim
    around[axis] = (1, 2 * outputs - size)
    padded = jnp.pad(x, around, constant_values=-jnp.inf)
    first, last = (
        jax.lax.slice_in_dim(padded, start, start + 2 * outputs - 1, 2, axis) for start in (0, 2)
    )
    return first, jax.lax.slice_in_dim(padded, 1, 2 * outputs, 2, axis), last


def _gradient(x: jax.Array, y: jax.Array, dy: jax.Array, axis: int) -> jax.Array:
    """The gradient of `_pool`: dy goes to the first tap that equals the maximum y."""
    before, centre, _ = _taps(x, axis)
    is_before = before == y
    is_centre = (centre == y) & ~is_before
    of_before = jnp.where(is_before, dy, 0)
    of_after = jnp.where(is_before | is_centre, 0, dy)
    # The value at 2i + 1 comes after 2i and before 2i + 2.
    around = [(0, 0)] * x.ndim
    around[axis] = (0, 1)
    odd = of_after + jnp.pad(jax.lax.slice_in_dim(of_before, 1, None, 1, axis), around)
    both = jnp.stack([jnp.where(is_centre, dy, 0), odd], axis + 1)
    shape = list(x.shape)
    shape[axis] = -1
    return jax.lax.slice_in_dim(both.reshape(shape), 0, x.shape[axis], 1, axis)
