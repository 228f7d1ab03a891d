"""Relaxed ranks, with the ranked values on the leading axis. Depends on jax alone."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rcc_jax.consensus.products import multiply


def soft_ranks(values: jax.Array, temperature: float, product: Callable = multiply) -> jax.Array:
    """Sigmoid-relaxed descending ranks of values [M, ...] (RCC, eq. 11); see `consensus`.

    `product` is one of `matrix_product`.
    """
    # One sigmoid a pair, since sigmoid(-x) = 1 - sigmoid(x), and no [M, M, ...] array: of a pair
    # (a, b) the first gains rank by what the second is larger, and the second loses it.
    pairs = _pair_differences(len(values))
    larger = jax.nn.sigmoid(product(pairs.T, values) / temperature)
    lost = product(pairs, larger)
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
