"""What the method computes on unlabelled images: pseudo labels, their mask, the consensus."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from rcc_jax.consensus.agreement import rank_agreement
from rcc_jax.consensus.players import MAX_PLAYERS
from rcc_jax.methods.losses import pseudo_labels


@dataclasses.dataclass(frozen=True)
class MethodView:
    """Maps of a batch of views, with one value per pixel.

    Attributes:
        labels, student_labels: Most likely classes of the teacher (weak view) and of the student
            (strong view), uint8 [B, H, W].
        confidence: The teacher's probability of its class, float32 [B, H, W].
        kept: Where the pseudo label counts (eq. 2), bool [B, H, W]; False on padding.
        agreement: See `rank_agreement`, float32 [B, H, W]; None for two classes.
    """

    labels: np.ndarray
    student_labels: np.ndarray
    confidence: np.ndarray
    kept: np.ndarray
    agreement: np.ndarray | None


def method_view(
    teacher_logits: jax.Array,
    student_logits: jax.Array,
    valid: np.ndarray,
    *,
    threshold: float,
    top_n: int,
) -> MethodView:
    """Computes the maps from logits, as the losses do.

    Args:
        teacher_logits: [rows, H, W, K], logits or log-probabilities of the weak views; on devices,
            with rows of padding at the end.
        student_logits: The same for strong views whose pixels lie at the same places.
        valid: bool [B, H, W], False on the padding of a crop.
        threshold: Confidence gamma.
        top_n: Number of players N of the agreement; reduced to the number of classes and to
            `MAX_PLAYERS` if it is larger.
    """
    players = min(top_n, teacher_logits.shape[-1], MAX_PLAYERS)
    # Two classes form a single pair: there is nothing to rank.
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
