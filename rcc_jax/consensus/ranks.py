"""Relaxed ranks, with the ranked values on the leading axis. Depends only on jax."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rcc_jax.consensus.products import multiply


def soft_ranks(values: jax.Array, temperature: float, product: Callable = multiply) -> jax.Array:
    """Sigmoid-relaxed descending ranks of values [M, ...] (RCC, eq. 11); see `values.soft_ranks`.

    Args:
        values: [M, ...].
        temperature: tau.
        product: `products.multiply` or `products.multiply_for_gradient`.
    """
    # One sigmoid per pair, since sigmoid(-x) = 1 - sigmoid(x), and no [M, M, ...] array. With s the
    # sigmoid of b - a, a pair (a, b) adds s to the rank of a and subtracts s from that of b.
    pairs = _pair_differences(len(values))
    larger = jax.nn.sigmoid(product(pairs.T, values) / temperature)
    lost = product(pairs, larger)
    places = jnp.arange(1, len(values) + 1, dtype=values.dtype)
    return places.reshape(-1, *[1] * (values.ndim - 1)) - lost


def relative_difference(teacher: jax.Array, student: jax.Array) -> jax.Array:
    """Relative difference of two rankings [M, ...], summed over the values (RCC, eq. 9)."""
    return jnp.sum(1 - jnp.minimum(teacher, student) / jnp.maximum(teacher, student), axis=0)


def _pair_differences(count: int) -> np.ndarray:
    """Matrix [M, M (M - 1) / 2] with -1 at a and 1 at b in the column of each pair a < b."""
    columns = np.zeros((count, count * (count - 1) // 2))
    for column, (a, b) in enumerate(itertools.combinations(range(count), 2)):
        columns[a, column], columns[b, column] = -1, 1
    return columns
