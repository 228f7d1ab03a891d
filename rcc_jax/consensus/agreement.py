"""How similarly two networks rank the pairs of a pixel's classes. Depends only on jax."""

import itertools

import jax
import jax.numpy as jnp

from rcc_jax.consensus import blocks

# Values of J closer than this count as equal: in float32 their error is about 2e-7.
_TIE = 1e-6


def rank_agreement(
    teacher_logits: jax.Array, student_logits: jax.Array, *, top_n: int = 4
) -> jax.Array:
    """How similarly teacher and student rank the pairs of classes, from 0 to 1.

    The teacher's top N classes form M = N (N - 1) / 2 pairs. Each network orders these pairs by
    their consensus J (eq. 7); this is the order of the ranks of eq. 11 in the limit tau -> 0. The
    agreement is the share of the M (M - 1) / 2 comparisons of two pairs on which both networks
    agree (Kendall's concordant comparisons); a comparison that is a tie in only one network counts
    half. 1 means the same order, 0 the reverse order, and unrelated logits give about 0.5. The rank
    loss shows this less clearly: at tau = 1, 1 - loss / M exceeds 0.8 for random logits, and is
    close to 1 if a network's values are nearly equal.

    Args:
        teacher_logits: [..., K] logits or log-probabilities of the weak view.
        student_logits: [..., K] logits or log-probabilities of a strong view.
        top_n: Number of players N, from 3 to 8 and at most K.

    Returns:
        float32 [...] from 0 to 1. It has no gradient.

    Raises:
        ValueError: For a top_n out of range, integer logits or mismatched shapes.

    >>> weak, strong = jnp.array([[3.0, 1.0, 0.0]]), jnp.array([[0.0, 1.0, 3.0]])
    >>> rank_agreement(weak, weak, top_n=3).tolist()
    [1.0]
    >>> [f"{share:.2f}" for share in rank_agreement(weak, strong, top_n=3)]
    ['0.67']
    """
    if top_n < 3:
        raise ValueError(f"top_n must be at least 3, to have two pairs to compare; got {top_n}")
    return blocks.of_pixels(_agreements, teacher_logits, student_logits, top_n)


def _agreements(teacher: jax.Array, student: jax.Array) -> jax.Array:
    """Agreement of the players of teacher and student, two [N, ...] to [...]."""
    both = [blocks.consensus(logits) for logits in (teacher, student)]
    comparisons = list(itertools.combinations(range(len(both[0])), 2))
    total: jax.Array | int = 0
    # One comparison at a time: all at once would hold 15 more maps at four players.
    for first, second in comparisons:
        of_teacher, of_student = (_order(values[first] - values[second]) for values in both)
        total = total + 1 - jnp.abs(of_teacher - of_student) / 2
    return jnp.asarray(total / len(comparisons))


def _order(difference: jax.Array) -> jax.Array:
    return jnp.where(jnp.abs(difference) <= _TIE, 0, jnp.sign(difference)).astype(jnp.float32)
