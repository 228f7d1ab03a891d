"""Relaxed ranks, with the ranked values on the leading axis. Depends on jax alone."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np


def soft_ranks(values: jax.Array, temperature: float) -> jax.Array:
    """Sigmoid-relaxed descending ranks of values [M, ...] (RCC, eq. 11); see `consensus`."""
    # One sigmoid a pair, since sigmoid(-x) = 1 - sigmoid(x), and no [M, M, ...] array: of a pair
    # (a, b) the first gains rank by what the second is larger, and the second loses it.
    pairs = jnp.asarray(_pair_differences(len(values)), values.dtype)
    exact = jax.lax.Precision.HIGHEST
    larger = jax.nn.sigmoid(jnp.tensordot(pairs.T, values, 1, precision=exact) / temperature)
    lost = jnp.tensordot(pairs, larger, 1, precision=exact)
    places = jnp.arange(1, len(values) + 1, dtype=values.dtype)
    return places.reshape(-1, *[1] * (values.ndim - 1)) - lost


def relative_difference(teacher: jax.Array, student: jax.Array) -> jax.Array:
    """Of two rankings [M, ...], summed over the ranked values (RCC, eq. 9)."""
    return jnp.sum(1 - jnp.minimum(teacher, student) / jnp.maximum(teacher, student), axis=0)


def _pair_differences(count: int) -> np.ndarray:
    """[M, M (M - 1) / 2] matrix that turns values into b - a for every pair a before b."""
    columns = np.zeros((count, count * (count - 1) // 2))
    for column, (a, b) in enumerate(itertools.combinations(range(count), 2)):
        columns[a, column], columns[b, column] = -1, 1
    return columns
