"""The game behind the consensus, with the players on the leading axis. Depends only on jax.

The players lead so that pixels are the last axis: a processor vectorises along the last axis, and
all pixels undergo the same operations, while the players do not.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rcc_jax.consensus.products import multiply


# Compiled even if the caller is not: one operation at a time takes twice as long.
@jax.jit
def entropies(players: jax.Array) -> jax.Array:
    """Entropy of the softmax over every non-empty subset of the players (RCC, eq. 6).

    The chain rule of entropy adds one player at a time, so no maximum per subset is needed and the
    result stays finite for logits of +-1e4.

    Args:
        players: [N, ...] floating-point logits.

    Returns:
        [2**N - 1, ...] entropies in nats; player i is a member if bit i of (index + 1) is set.
    """
    zero = jnp.zeros_like(players[:1])
    entropy, log_sum = zero, players[:1]
    for own in jnp.split(players, len(players))[1:]:
        joined, joined_sum = _join(jnp.broadcast_to(own, log_sum.shape), log_sum, entropy)
        entropy = jnp.concatenate([entropy, zero, joined])
        log_sum = jnp.concatenate([log_sum, own, joined_sum])
        # Without the barrier XLA fuses the rounds and each one recomputes all earlier ones.
        entropy, log_sum = jax.lax.optimization_barrier((entropy, log_sum))
    return entropy


@jax.custom_jvp
def _join(own: jax.Array, log_sum: jax.Array, entropy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Entropy and log-sum-exp of subsets after one more player has joined them."""
    outputs, _ = _join_and_shares(own, log_sum, entropy)
    return outputs


@_join.defjvp
def _join_jvp(primals, tangents):
    # By hand: smooth where player and subset have equal weight, and without a second exponential.
    (own, log_sum, entropy), (d_own, d_log_sum, d_entropy) = primals, tangents
    outputs, share = _join_and_shares(own, log_sum, entropy)
    # The share s falls by s (1 - s) per unit of odds x, and the two-way entropy by x s (1 - s).
    slope = share * (1 - share) * (own - log_sum + entropy)
    d_joined = share * d_entropy - slope * (d_own - d_log_sum)
    return outputs, (d_joined, share * d_log_sum + (1 - share) * d_own)


def _join_and_shares(own, log_sum, entropy):
    """The outputs of `_join`, and the subset's weight in the softmax with the new player."""
    odds = own - log_sum
    ahead = odds >= 0
    distance = jnp.abs(odds)
    ratio = jnp.exp(-distance)
    larger = 1 / (1 + ratio)
    smaller = ratio * larger
    # Not log1p: about ten times slower, and not more accurate beside the other terms.
    log = jnp.log(1 + ratio)
    share = jnp.where(ahead, smaller, larger)
    joined = log + distance * smaller + share * entropy
    return (joined, jnp.where(ahead, own, log_sum) + log), share


def interactions(entropy: jax.Array, product: Callable = multiply) -> jax.Array:
    """Pairwise Banzhaf interactions of the players (RCC, eq. 7).

    Args:
        entropy: [2**N - 1, ...] values of the non-empty coalitions, from `entropies`.
        product: `products.multiply` or `products.multiply_for_gradient`.

    Returns:
        [N (N - 1) / 2, ...], pairs in the order of `itertools.combinations(range(N), 2)`.
    """
    return product(_interaction_matrix(len(entropy).bit_length()), entropy)


def _interaction_matrix(players: int) -> np.ndarray:
    """[M, 2**N - 1] signs of eq. 7: + for subsets with both or neither of a pair, - with one."""
    subsets = np.arange(1, 2**players) >> np.arange(players)[:, None] & 1
    rows = [
        np.where(subsets[u] == subsets[v], 1.0, -1.0)
        for u, v in itertools.combinations(range(players), 2)
    ]
    return np.stack(rows) / 2 ** (players - 2)
