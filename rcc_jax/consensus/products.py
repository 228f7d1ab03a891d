"""Products of a constant matrix with values on the leading axis. Depends only on jax."""

import jax
import jax.numpy as jnp
import numpy as np


def multiply(matrix: np.ndarray, values: jax.Array) -> jax.Array:
    """[A, B] times [B, ...] to [A, ...], with derivatives of any mode and order."""
    return _multiply(jnp.asarray(matrix, values.dtype), values)


def multiply_for_gradient(matrix: np.ndarray, values: jax.Array) -> jax.Array:
    """`multiply` with a gradient that keeps the pixels on the last axis; reverse mode only.

    JAX's transposed product puts the pixels first, which takes a CPU five times as long.
    """
    return _pixels_last(jnp.asarray(matrix, values.dtype), values)


def _multiply(matrix: jax.Array, values: jax.Array) -> jax.Array:
    # HIGHEST: terms of the game nearly cancel, and TF32 on a GPU would lose the difference.
    return jnp.tensordot(matrix, values, 1, precision=jax.lax.Precision.HIGHEST)


@jax.custom_vjp
def _pixels_last(matrix: jax.Array, values: jax.Array) -> jax.Array:
    return _multiply(matrix, values)


def _forward(matrix, values):
    return _multiply(matrix, values), matrix


def _backward(matrix, cotangent):
    return None, _multiply(matrix.T, cotangent)


_pixels_last.defvjp(_forward, _backward)
