"""The consensus of a pixel's classes: entropies of subsets, interactions of pairs, ranks.

The players are the top-N classes of one pixel, the value of a coalition is the entropy of the
softmax over its members, and the consensus of two classes is their Banzhaf interaction. Depends
only on jax.

Reference: Mai, Sun, Wu. "Relaxed Class-consensus Consistency for Semi-supervised Semantic
Segmentation", AAAI 2025, equations 4-7 and 9-11.
"""

import jax
import jax.numpy as jnp

from rcc_jax.consensus import game, players, ranks


def _checked_players(logits: jax.Array) -> jax.Array:
    logits = players.at_least_float32(logits, "logits")
    if logits.ndim == 0:
        raise ValueError("logits must have a last axis of players, got a scalar")
    players.check_players(logits.shape[-1], "the number of players (last axis of logits)")
    return logits


def subset_entropies(logits: jax.Array) -> jax.Array:
    """Entropy of the softmax restricted to every subset of the players (eq. 6).

    Args:
        logits: [..., N] logits of the N players, 2 <= N <= 8.

    Returns:
        [..., 2**N] entropies in nats, at least float32; player i is in the subset if
        bit i of the last index is set. The empty set and the single players have entropy 0.

    Raises:
        ValueError: For integer logits, or N outside 2..8.

    >>> print(subset_entropies(jnp.zeros(2)).round(3))
    [0.    0.    0.    0.693]
    """
    logits = _checked_players(logits)
    entropies = game.entropies(jnp.moveaxis(logits, -1, 0))
    empty = jnp.zeros_like(entropies[:1])
    return jnp.moveaxis(jnp.concatenate([empty, entropies]), 0, -1)


def class_consensus(logits: jax.Array) -> jax.Array:
    """Consensus J(u, v) of every pair of players: their Banzhaf interaction (eq. 4, 5, 7).

    Args:
        logits: [..., N] logits of the players, 2 <= N <= 8.

    Returns:
        [..., N * (N - 1) / 2] consensus in nats, pairs in the order of
        `itertools.combinations(range(N), 2)`.

    Raises:
        ValueError: For integer logits, or N outside 2..8.

    >>> [f"{value:.4f}" for value in class_consensus(jnp.zeros(3))]
    ['0.2027', '0.2027', '0.2027']
    """
    entropies = game.entropies(jnp.moveaxis(_checked_players(logits), -1, 0))
    return jnp.moveaxis(game.interactions(entropies), 0, -1)


def soft_ranks(values: jax.Array, temperature: float = 1.0) -> jax.Array:
    """Sigmoid-relaxed descending ranks: 1 + the soft number of larger values (eq. 11).

    Args:
        values: [..., M] values to rank.
        temperature: tau > 0 in the unit of the values; the ranks become hard as tau -> 0.

    Returns:
        [..., M] ranks between 1 and M that sum to M (M + 1) / 2.

    Raises:
        ValueError: For integer values or a temperature that is not above 0.

    >>> soft_ranks(jnp.array([3.0, 1.0, 2.0]), temperature=0.01).tolist()
    [1.0, 3.0, 2.0]
    """
    values = players.at_least_float32(values, "values")
    players.check_temperature(temperature)
    return jnp.moveaxis(ranks.soft_ranks(jnp.moveaxis(values, -1, 0), temperature), 0, -1)


def rank_loss(
    teacher_values: jax.Array, student_values: jax.Array, temperature: float = 1.0
) -> jax.Array:
    """Relative difference of two soft rankings, summed over the ranked values (eq. 9).

    Args:
        teacher_values: [..., M] consensus of the teacher; its gradient is not stopped here.
        student_values: [..., M] consensus of the student.
        temperature: tau of `soft_ranks`, the same for both.

    Returns:
        [...] losses; 0 if both rankings are equal, and always below M.

    Raises:
        ValueError: For mismatched shapes, integer values or a temperature that is not above 0.

    >>> opposite = rank_loss(jnp.array([3.0, 1.0, 2.0]), jnp.array([1.0, 3.0, 2.0]), 0.01)
    >>> f"{opposite:.4f}"
    '1.3333'
    """
    players.check_same_shape(teacher_values, student_values, "values")
    players.check_temperature(temperature)
    teacher, student = (
        jnp.moveaxis(players.at_least_float32(values, "values"), -1, 0)
        for values in (teacher_values, student_values)
    )
    teacher = ranks.soft_ranks(teacher, temperature)
    student = ranks.soft_ranks(student, temperature)
    return ranks.relative_difference(teacher, student)


def top_class_consensus(
    teacher_logits: jax.Array, student_logits: jax.Array, *, top_n: int = 4
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Consensus of teacher and student over the teacher's top classes, which the losses compare.

    Args:
        teacher_logits: [..., K] logits that choose the players; no gradient flows into them.
        student_logits: [..., K] logits.
        top_n: Number of players N; 2 <= N <= min(8, K).

    Returns:
        The players' ids [..., N], likeliest first; then the consensus of the teacher and of the
        student, each [..., N * (N - 1) / 2] with pairs in the order of
        `itertools.combinations(range(N), 2)`.

    Raises:
        ValueError: For integer logits, mismatched shapes or a top_n out of range.

    >>> weak, strong = jnp.array([0.0, 3.0, 1.0, 2.0]), jnp.zeros(4)
    >>> players, _, student = top_class_consensus(weak, strong, top_n=3)
    >>> players.tolist(), [f"{value:.4f}" for value in student]
    ([1, 3, 2], ['0.2027', '0.2027', '0.2027'])
    """
    classes, teacher, student = players.top_players(teacher_logits, student_logits, top_n)
    return classes, class_consensus(teacher), class_consensus(student)
