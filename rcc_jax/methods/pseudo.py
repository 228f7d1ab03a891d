"""Pseudo labels: targets that a teacher's logits give to unlabelled pixels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rcc_jax.methods import losses
from rcc_jax.methods.cutmix import cutmix


class Pseudo(NamedTuple):
    """Pseudo labels of a batch.

    Attributes:
        target: [B, H, W] int32 classes, or [B, H, W, K] probabilities of a soft label.
        kept: bool [B, H, W], where the target counts; padding may count too.
    """

    target: jax.Array
    kept: jax.Array


def hard(logits: jax.Array, threshold: jax.Array | float) -> Pseudo:
    """The most likely classes; they count where their probability reaches the threshold (eq. 2).

    Args:
        logits: [B, H, W, K] logits or log-probabilities of the teacher.
        threshold: Confidence gamma.
    """
    label, confidence = losses.pseudo_labels(logits)
    return Pseudo(label, confidence >= threshold)


def soft(logits: jax.Array, mass: float) -> Pseudo:
    """The probabilities of the likely classes, renormalised; every pixel counts.

    The likely classes are the fewest that together hold a share `mass` of the probability; classes
    as likely as the last of them count, too. One class that holds it alone is a hard label.

    Args:
        logits: [B, H, W, K] logits or log-probabilities of the teacher.
        mass: Share eta of the probability.

    References:
        Ma et al., "Enhanced Soft Label for Semi-Supervised Semantic Segmentation", ICCV 2023,
        section 3.2 (dynamic soft label).

    >>> logits = jnp.log(jnp.array([[[[0.6, 0.3, 0.08, 0.02]]]]))
    >>> [f"{share:.3f}" for share in soft(logits, 0.95).target[0, 0, 0]]
    ['0.612', '0.306', '0.082', '0.000']
    """
    probability = jax.nn.softmax(
        logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), axis=-1
    )
    ordered = jnp.sort(probability, axis=-1, descending=True)
    # A class belongs to the fewest if the more likely ones do not hold the share yet. The tolerance
    # is for sums that reach it up to rounding.
    before = jnp.cumsum(ordered, axis=-1) - ordered
    needed = before < max(mass - 1e-6, 1e-7)
    smallest = jnp.min(jnp.where(needed, ordered, jnp.inf), axis=-1, keepdims=True)
    chosen = jnp.where(probability >= smallest, probability, 0)
    target = chosen / jnp.sum(chosen, axis=-1, keepdims=True)
    return Pseudo(target, jnp.ones(target.shape[:-1], bool))


def mixed(pasted: jax.Array, partner: Pseudo, own: Pseudo) -> Pseudo:
    """The pseudo labels of a view after CutMix.

    Args:
        pasted: bool [B, H, W], True where the partner was pasted.
        partner: Pseudo labels of the partner.
        own: Pseudo labels of the image.
    """
    return Pseudo(*(cutmix(pasted, *pair) for pair in zip(partner, own, strict=True)))


def cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """The cross-entropy of each pixel, [B, H, W], against hard or soft pseudo labels.

    Args:
        logits: [B, H, W, K].
        target: [B, H, W] classes, or [B, H, W, K] probabilities.
    """
    if target.ndim < logits.ndim:
        return losses.cross_entropy(logits, target)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return -jnp.sum(target * jax.nn.log_softmax(logits, axis=-1), axis=-1)
