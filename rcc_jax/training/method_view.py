"""What the method sees in unlabelled images: pseudo labels, which of them count, consensus."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from rcc_jax.consensus import top_class_consensus
from rcc_jax.consensus.checks import MAX_PLAYERS
from rcc_jax.methods.losses import pseudo_labels

# Values of J that are nearer are one to float32, in which they err by some 2e-7.
_TIE = 1e-6


@dataclasses.dataclass(frozen=True)
class MethodView:
    """One value a pixel, of a batch of views.

    Attributes:
        labels, student_labels: Classes that teacher (weak view) and student (strong view) find
            likeliest, uint8 [B, H, W].
        confidence: The teacher's probability of its class, float32 [B, H, W].
        kept: Where the pseudo label counts (eq. 2), bool [B, H, W]; nowhere on padding.
        agreement: See `rank_agreement`, float32 [B, H, W]; None for two classes.
    """

    labels: np.ndarray
    student_labels: np.ndarray
    confidence: np.ndarray
    kept: np.ndarray
    agreement: np.ndarray | None


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


def method_view(
    teacher_logits: jax.Array,
    student_logits: jax.Array,
    valid: np.ndarray,
    *,
    threshold: float,
    top_n: int,
) -> MethodView:
    """Looks at logits as the losses do.

    Args:
        teacher_logits: [rows, H, W, K] of weak views, logits or log-probabilities; on devices, with
            rows of padding behind the others.
        student_logits: The same of strong views whose pixels lie at the same places.
        valid: bool [B, H, W], False on the padding of a crop.
        threshold: Confidence gamma.
        top_n: Number of players N of the agreement; fewer where there are fewer classes, or more
            than can play.
    """
    players = min(top_n, teacher_logits.shape[-1], MAX_PLAYERS)
    # A single pair has nothing to be compared with.
    found = _look(teacher_logits, student_logits, players=players if players > 2 else None)
    found = {name: np.asarray(value)[: len(valid)] for name, value in found.items()}
    kept = (found["confidence"] >= threshold) & valid
    return MethodView(kept=kept, agreement=found.pop("agreement", None), **found)


@functools.partial(jax.jit, static_argnames="players")
def _look(teacher: jax.Array, student: jax.Array, players: int | None) -> dict[str, jax.Array]:
    labels, confidence = pseudo_labels(teacher)
    found = {
        "labels": labels.astype(jnp.uint8),
        "student_labels": pseudo_labels(student)[0].astype(jnp.uint8),
        "confidence": confidence,
    }
    if players is not None:
        found["agreement"] = rank_agreement(teacher, student, top_n=players)
    return found
