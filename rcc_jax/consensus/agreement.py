"""How far two networks rank the pairs of a pixel's classes alike. Depends on jax alone."""

import itertools

import jax
import jax.numpy as jnp

from rcc_jax.consensus.values import top_class_consensus

# Values of J that are nearer are one to float32, in which they err by some 2e-7.
_TIE = 1e-6


def rank_agreement(
    teacher_logits: jax.Array, student_logits: jax.Array, *, top_n: int = 4
) -> jax.Array:
    """How far teacher and student rank the pairs of classes alike.

    The teacher's top N classes have M = N (N - 1) / 2 pairs, whose consensus J (eq. 7) either
    network puts in an order: the ranks of eq. 11 with tau towards 0. Of the M (M - 1) / 2
    comparisons of two pairs this is the share that both networks decide alike (Kendall's share of
    concordant ones); one that only one of them leaves open counts half. So 1 is the same order, 0
    the reverse, 0.5 what unrelated logits come to. 1 - rank loss / M makes a poor picture:
    at tau = 1 it is above 0.8 for random logits, and near 1 where a network hardly orders anything.

    Args:
        teacher_logits: [..., K] of the weak view, logits or log-probabilities.
        student_logits: [..., K] of a strong view.
        top_n: Number of players N, from 3 to 8 and at most K.

    Returns:
        float32 [...] from 0 to 1.

    Raises:
        ValueError: For a top_n out of range, or as `top_class_consensus`.

    >>> weak, strong = jnp.array([[3.0, 1.0, 0.0]]), jnp.array([[0.0, 1.0, 3.0]])
    >>> rank_agreement(weak, weak, top_n=3).tolist()
    [1.0]
    >>> [f"{share:.2f}" for share in rank_agreement(weak, strong, top_n=3)]
    ['0.67']
    """
    if top_n < 3:
        raise ValueError(f"top_n must be at least 3 for two pairs to compare, got {top_n}")
    _, *both = top_class_consensus(teacher_logits, student_logits, top_n=top_n)
    comparisons = list(itertools.combinations(range(both[0].shape[-1]), 2))
    total = 0
    # One comparison after the other: all at once would take 15 maps more at four players.
    for first, second in comparisons:
        teacher, student = (_order(values[..., first] - values[..., second]) for values in both)
        total = total + 1 - jnp.abs(teacher - student) / 2
    return total / len(comparisons)


def _order(difference: jax.Array) -> jax.Array:
    return jnp.where(jnp.abs(difference) <= _TIE, 0, jnp.sign(difference)).astype(jnp.float32)
