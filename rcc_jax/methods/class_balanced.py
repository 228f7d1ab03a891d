"""Class-balanced pseudo labels: the confidence in a class decides how many of its pixels count."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rcc_jax.methods.base import Result, Views
from rcc_jax.methods.fields import ema_option, label_threshold_option
from rcc_jax.methods.fixmatch import FixMatch
from rcc_jax.methods.lazy import cutmix, jax, jnp, losses, passes, pseudo
from rcc_jax.methods.with_consensus import StrongView

if TYPE_CHECKING:
    from jax import Array

MOMENTUM = 0.999


@dataclasses.dataclass(frozen=True)
class ClassBalanced(FixMatch):
    """L_x + R(labelled images) + R(mixed images) + lambda * L_consensus.

    R = sum of v_i * CE_i, the cross-entropy of a pixel against the EMA teacher's class, with the
    weights v_i = q_i^2 * m_i / (sum of q_j^2 * m_j), where q is the teacher's confidence. Pixels
    below `confidence_threshold` have no cross-entropy but stay in the sum below. m_i is 1 with the
    probability r_k, where k is the class that the student predicts, and else 0:

        r_c = (1 - C_c) / max over classes of (1 - C)

    so all pixels of the weakest class count. C_c, drawn uniformly at the start, moves at each step
    by a thousandth of the way to the student's mean probability of class c on labelled pixels of
    that class, or to 0 if there are none: rare classes count as weak. A step reads the C of
    the step before.

    This is a part of AEL (Hu et al., NeurIPS 2021), not AEL: it has the confidence bank, the
    sampling of pixels by class and the weights. It lacks the copy-and-paste of weak classes between
    labelled images and the CutMix by class, whose choice of the next image would depend on the
    state of the training; a box of half the area of another image takes its place. The teacher is
    in evaluation mode with the averaged statistics, there in training mode. Ignored labelled pixels
    and padding do not count; there they do.
    """

    name: ClassVar[str] = "class_balanced"
    summary: ClassVar[str] = "pixels of weak classes count more often, confident ones weigh more"
    reference: ClassVar[str] = "a part of AEL, Hu et al., NeurIPS 2021, arXiv 2110.05474"
    views: ClassVar[Views] = Views(strong=1, recipe="none", box="half_area")
    recipes: ClassVar = {"cityscapes": {"ohem_min_kept": 50_000}}
    # The weights are shares of the whole batch.
    accumulates: ClassVar[bool] = False

    ema_decay: float = ema_option(0.99)
    confidence_threshold: float = label_threshold_option(0.7)

    @property
    def terms(self) -> tuple[str, ...]:
        return (*super().terms, "loss_repeated")

    def memory(self, weights, num_classes: int, key) -> Array:
        return jax.random.uniform(key, (num_classes,))

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        keys = jax.random.split(key)
        x, labels = batch["labeled"]["image"], passes.labels(batch)
        targets = passes.targets(batch, 1)
        (pasted,), (valid,), (num_valid,) = targets.pasted, targets.strong_valid, counts.strong
        labeled = nets.student(x)
        (mixed,) = passes.strong_logits(nets.student, batch, 1)
        weak, partner = (nets.teacher(batch[each]["weak"]) for each in ("unlabeled", "partner"))
        teacher = cutmix.cutmix(pasted, partner, weak)
        known = labels != losses.IGNORED
        sampled = [
            where & sample(student, memory, each)
            for student, where, each in zip((labeled, mixed), (known, valid), keys, strict=True)
        ]
        kept = self.label(teacher).kept & valid
        terms = {
            "loss_labeled": self.labeled_term(labeled, labels, counts, parts),
            "loss_repeated": self.weighted(labeled, nets.teacher(x), sampled[0]),
            "loss_strong1": self.weighted(mixed, teacher, sampled[1]),
            "kept_ratio": jnp.sum(kept & sampled[1]) / num_valid,
        }
        view = StrongView(teacher, mixed, kept, valid, num_valid)
        unlabeled = self.add_consensus(terms["loss_strong1"], [view], terms)
        loss = terms["loss_labeled"] + terms["loss_repeated"] + unlabeled
        return Result(loss, terms, by_class(labeled, labels))

    def weighted(self, student: Array, teacher: Array, sampled: Array) -> Array:
        """R: the weighted mean of the cross-entropies of sampled pixels, bool [B, H, W]."""
        target, kept = self.label(teacher)
        _, confidence = losses.pseudo_labels(teacher)
        weight = jnp.where(sampled, confidence**2, 0)
        pixel_losses = weight * pseudo.cross_entropy(student, target)
        total = jnp.sum(weight)
        return losses.masked_sum(pixel_losses, kept) / jnp.where(total == 0, 1, total)

    def update(self, memory, observations, weights, clock) -> Array:
        number, total = observations
        mean = total / jnp.maximum(number, 1)
        return (MOMENTUM * memory + (1 - MOMENTUM) * mean).astype(memory.dtype)


def rates(confidence: Array) -> Array:
    """The probability r that a pixel of each class counts, [K], from the confidences C [K].

    >>> [f"{rate:.3f}" for rate in rates(jnp.array([0.9, 0.5, 0.1]))]
    ['0.111', '0.556', '1.000']
    """
    return (1 - confidence) / jnp.maximum(jnp.max(1 - confidence), 1e-6)


def sample(student: Array, confidence: Array, key: Array) -> Array:
    """Which pixels count, bool [B, H, W], by the class that the student [B, H, W, K] predicts."""
    predicted = jnp.argmax(student, axis=-1)
    return jax.random.uniform(key, predicted.shape) < rates(confidence)[predicted]


def by_class(logits: Array, labels: Array) -> tuple[Array, Array]:
    """The number of labelled pixels of each class, and their summed probability of it, [K] each.

    Args:
        logits: [B, H, W, K].
        labels: [B, H, W], 255 = ignored.
    """
    logits = jax.lax.stop_gradient(logits)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    of_class = labels[..., None] == jax.lax.broadcasted_iota(jnp.int32, logits.shape, 3)
    probability = jnp.where(of_class, jax.nn.softmax(logits), 0)
    return jnp.sum(of_class, axis=(0, 1, 2)), jnp.sum(probability, axis=(0, 1, 2))
