"""Products of a constant matrix with values on the leading axis. Depends on jax alone."""

import jax
import jax.numpy as jnp
import numpy as np


def multiply(matrix: np.ndarray, values: jax.Array) -> jax.Array:
    """[A, B] times [B, ...] to [A, ...], with derivatives of any mode and order."""
    return _multiply(jnp.asarray(matrix, values.dtype), values)


def multiply_for_gradient(matrix: np.ndarray, values: jax.Array) -> jax.Array:
    """`multiply` whose gradient keeps the pixels last; reverse mode alone.

    JAX would put them first in the transposed product, which takes a CPU five times as long.
    """
    return _pixels_last(jnp.asarray(matrix, values.dtype), values)


def _multiply(matrix: jax.Array, values: jax.Array) -> jax.Array:
    # HIGHEST: terms of the game nearly cancel, which TF32 on a GPU would not survive.
    return jnp.tensordot(matrix, values, 1, precision=jax.lax.Precision.HIGHEST)


@jax.custom_vjp
def _pixels_last(matrix: jax.Array, values: jax.Array) -> jax.Array:
    return _multiply(matrix, values)


def _forward(matrix, values):
    return _multiply(matrix, values), matrix


def _backward(matrix, cotangent):
    return None, _multiply(matrix.T, cotangent)


_pixels_last.defvjp(_forward, _backward)
