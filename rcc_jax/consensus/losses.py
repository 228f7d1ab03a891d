"""Losses that make teacher and student agree on the consensus of a pixel's classes.

RCC makes both rank the pairs of classes alike; CC makes both give each pair the same consensus. The
soft loss compares the probabilities of the same classes, without a game. Depends only on jax.

Reference: Mai, Sun, Wu. "Relaxed Class-consensus Consistency for Semi-supervised Semantic
Segmentation", AAAI 2025, equations 8-11 and table 5.
"""

import functools

import jax
import jax.numpy as jnp

from rcc_jax.consensus import blocks, players
from rcc_jax.consensus.values import rank_loss, top_class_consensus

CC_KINDS = ("l2", "ce", "kl")
PAIRS = ("all", "top")


def pixel_rcc_loss(
    teacher_logits: jax.Array,
    student_logits: jax.Array,
    *,
    top_n: int = 4,
    temperature: float = 1.0,
    pairs: str = "all",
) -> jax.Array:
    """`rcc_loss` of each pixel, [...], before the mean.

    >>> logits = jnp.arange(8.0).reshape(2, 4)
    >>> pixel_rcc_loss(logits, logits).tolist()
    [0.0, 0.0]
    """
    players.check_temperature(temperature)
    _check_pairs(pairs)
    if isinstance(temperature, jax.core.Tracer):
        # A traced temperature may need a derivative, which blocks do not compute.
        _, teacher, student = top_class_consensus(teacher_logits, student_logits, top_n=top_n)
        if pairs == "top":
            teacher, student = teacher[..., : top_n - 1], student[..., : top_n - 1]
        return rank_loss(teacher, student, temperature)
    loss = functools.partial(blocks.rcc_losses, temperature=temperature, pairs=pairs)
    return blocks.of_pixels(loss, teacher_logits, student_logits, top_n)


def pixel_cc_loss(
    teacher_logits: jax.Array,
    student_logits: jax.Array,
    *,
    top_n: int = 4,
    kind: str = "l2",
    pairs: str = "all",
) -> jax.Array:
    """`cc_loss` of each pixel, [...], before the mean.

    >>> logits = jnp.arange(8.0).reshape(2, 4)
    >>> pixel_cc_loss(logits, logits).tolist()
    [0.0, 0.0]
    """
    if kind not in CC_KINDS:
        raise ValueError(f"kind must be one of {', '.join(CC_KINDS)}, got {kind!r}")
    _check_pairs(pairs)
    loss = functools.partial(blocks.cc_losses, kind=kind, pairs=pairs)
    return blocks.of_pixels(loss, teacher_logits, student_logits, top_n)


def pixel_soft_loss(
    teacher_logits: jax.Array, student_logits: jax.Array, *, top_n: int = 4
) -> jax.Array:
    """KL divergence of each pixel from the teacher's top classes to the student's.

    The target is the softmax of the teacher over its own top N classes (soft targets, as in
    distillation). The student's softmax is over the same N classes; its other classes do not count.

    Args:
        teacher_logits: [..., K] logits of the weak view; no gradient flows into them.
        student_logits: [..., K] logits of the strong view.
        top_n: Number of classes N, 2 <= N <= min(8, K).

    Returns:
        [...] losses in nats, at least float32; 0 where both softmax are equal.

    Raises:
        ValueError: For integer logits, mismatched shapes or a top_n out of range.

    Reference:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", 2015 (T = 1).

    >>> weak, strong = jnp.log(jnp.array([0.6, 0.2, 0.2])), jnp.log(jnp.array([0.2, 0.2, 0.6]))
    >>> f"{pixel_soft_loss(weak, strong, top_n=2):.4f}"
    '0.1308'
    """
    return blocks.of_pixels(blocks.soft_losses, teacher_logits, student_logits, top_n)


def _check_pairs(pairs: str) -> None:
    if pairs not in PAIRS:
        raise ValueError(f"pairs must be one of {', '.join(PAIRS)}, got {pairs!r}")


def _masked_mean(losses: jax.Array, where: jax.Array | None) -> jax.Array:
    if where is None:
        return jnp.mean(losses)
    if jnp.shape(where) != losses.shape:
        raise ValueError(
            f"where must have the shape of the pixels {losses.shape}, got {jnp.shape(where)}"
        )
    kept = jnp.sum(where, dtype=losses.dtype)
    return jnp.sum(jnp.where(where, losses, 0)) / jnp.maximum(kept, 1)


def rcc_loss(
    teacher_logits: jax.Array,
    student_logits: jax.Array,
    *,
    top_n: int = 4,
    temperature: float = 1.0,
    pairs: str = "all",
    where: jax.Array | None = None,
) -> jax.Array:
    """Relaxed class-consensus consistency of a strong view with its weak view (eq. 9-11).

    Args:
        teacher_logits: [..., K] logits of the weak view; no gradient flows into them.
        student_logits: [..., K] logits of the strong view.
        top_n: Number of players N, the teacher's top classes; 2 <= N <= min(8, K). At N = 2 there
            is only one pair and the loss is 0.
        temperature: tau of the relaxed ranks, above 0.
        pairs: The pairs of classes that are ranked, M of eq. 9: 'all' N (N - 1) / 2, or the N - 1
            pairs that include the teacher's 'top' class. The sum runs over these pairs.
        where: bool [...], the pixels that count; None for all.

    Returns:
        Scalar mean over the pixels that count; 0 if there are none.

    Raises:
        ValueError: For integer logits, mismatched shapes, unknown pairs, a top_n or temperature out
            of range.

    >>> weak, strong = jnp.array([[3.0, 1.0, 0.0]]), jnp.array([[0.0, 1.0, 3.0]])
    >>> bool(rcc_loss(weak, strong, top_n=3) > 0.01)
    True
    >>> float(rcc_loss(weak, strong, top_n=3, where=jnp.array([False])))
    0.0
    """
    losses = pixel_rcc_loss(
        teacher_logits, student_logits, top_n=top_n, temperature=temperature, pairs=pairs
    )
    return _masked_mean(losses, where)


def cc_loss(
    teacher_logits: jax.Array,
    student_logits: jax.Array,
    *,
    top_n: int = 4,
    kind: str = "l2",
    pairs: str = "all",
    where: jax.Array | None = None,
) -> jax.Array:
    """Strict class-consensus consistency (eq. 8; the alternatives of Table 5).

    Args:
        teacher_logits: [..., K] logits of the weak view; no gradient flows into them.
        student_logits: [..., K] logits of the strong view.
        top_n: Number of players N, 2 <= N <= min(8, K).
        kind: 'l2' for the squared distance summed over the pairs; 'ce' and 'kl' compare the
            softmax over the pairs (their gradients agree).
        pairs: The pairs of classes that are compared: 'all', or the N - 1 pairs that include the
            teacher's 'top' class. The sum and the softmax run over these pairs.
        where: bool [...], the pixels that count; None for all.

    Returns:
        Scalar mean over the pixels that count; 0 if there are none.

    Raises:
        ValueError: For integer logits, mismatched shapes, an unknown kind, unknown pairs or a top_n
            out of range.

    >>> weak, strong = jnp.array([[3.0, 1.0, 0.0]]), jnp.array([[0.0, 1.0, 3.0]])
    >>> bool(cc_loss(weak, strong, top_n=3) > 0.01)
    True
    >>> float(cc_loss(weak, weak, top_n=3))
    0.0
    """
    return _masked_mean(
        pixel_cc_loss(teacher_logits, student_logits, top_n=top_n, kind=kind, pairs=pairs), where
    )
