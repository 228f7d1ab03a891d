"""iMAS: strength, mixing and weight of an image follow how well teacher and student agree on it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rcc_jax.methods.augseg import AugSeg, Counts, Mixable, boxes
from rcc_jax.methods.base import Result, Views
from rcc_jax.methods.fields import ema_option, threshold_option
from rcc_jax.methods.lazy import jax, jnp, losses, passes, pseudo
from rcc_jax.methods.with_consensus import StrongView
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.base import Batch


@dataclasses.dataclass(frozen=True)
class IMAS(AugSeg):
    """L_x + w * (L_u + lambda * L_consensus), w = 3.

    L_u is the mean of the losses of the strong and of the mixed images, or the former alone if this
    step mixes none. The score h of an image, from 0 to 1, is large where teacher and student agree
    with confidence; the term `hardness` is its mean in the authors' word, so a high value means
    easy images. It weighs the image's loss, blends the strong with the weak view, and its mean
    is the probability that the weak views of a step are mixed: the best with the worst image, the
    second best with the second worst, over the whole batch. Class 0 does not enter h, as in the
    authors' code. The first epoch copies the student into the EMA teacher. The consensus term, off
    by default, covers the strong images.
    """

    name: ClassVar[str] = "imas"
    summary: ClassVar[str] = "augmentation and weight by the agreement of teacher and student"
    reference: ClassVar[str] = "Zhao et al., CVPR 2023, arXiv 2211.11335"
    views: ClassVar[Views] = Views(strong=1, recipe="imas", box="none")
    recipes: ClassVar = {"cityscapes": {"confidence_threshold": 0.7}}
    # The pairs and the decision to mix depend on the whole batch.
    accumulates: ClassVar[bool] = False

    ema_decay: float = ema_option(0.996)
    # Without the condition of other methods: soft labels do not need it, the score h does.
    confidence_threshold: float = threshold_option(
        0.95, "Confidence gamma of hard pseudo labels, and of the pixels that raise the score h."
    )
    unlabeled_weight: float = option(
        3.0, "Weight w of the unlabelled images.", at_least=0, short="unlabeled", symbol="w"
    )

    @property
    def terms(self) -> tuple[str, ...]:
        return (*super().terms, "loss_mixed", "hardness")

    def loss(self, nets, batch: Batch, memory, *, counts: Counts, parts, clock, key) -> Result:
        x, labels = batch["labeled"]["image"], passes.labels(batch)
        weak_view, valid = batch["unlabeled"]["weak"], batch["unlabeled"]["valid"]
        teacher = nets.teacher(weak_view)
        scores = agreement(
            nets.probe("student", weak_view), teacher, valid, self.confidence_threshold
        )
        own = self.label(teacher)
        weak = Mixable(weak_view, own.target, own.kept & valid, teacher, valid)
        mixed, is_mixed = mix_by_rank(weak, scores, key)
        strong_view = blend(batch["unlabeled"]["strong1"], weak_view, scores)
        pairs = passes.interleave(
            passes.interleave(x, weak_view), passes.interleave(mixed.image, strong_view)
        )
        # Rows alternate: labelled, mixed, weak, strong. The weak ones only feed BatchNorm.
        first, second = passes.separate(nets.student(pairs))
        (labeled, _), (of_mixed, strong) = passes.separate(first), passes.separate(second)
        supervised = self.labeled_term(labeled, labels, counts, parts)
        terms = {
            "loss_labeled": supervised,
            "loss_strong1": weighted(strong, weak, scores) / counts.all,
            "loss_mixed": weighted(of_mixed, mixed, scores) / counts.all,
            "kept_ratio": jnp.sum(own.kept & valid) / counts.weak,
            "hardness": jnp.mean(scores),
        }
        both = (terms["loss_strong1"] + terms["loss_mixed"]) / 2
        unlabeled = jnp.where(is_mixed, both, terms["loss_strong1"])
        view = StrongView(teacher, strong, own.kept, valid, counts.weak)
        unlabeled = self.add_consensus(unlabeled, [view], terms)
        return Result(supervised + self.unlabeled_weight * unlabeled, terms)


def weighted(logits: Array, wanted: Mixable, scores: Array) -> Array:
    """Sum over images of h times the cross-entropies of the kept pixels."""
    pixel_losses = pseudo.cross_entropy(logits, wanted.target)
    return losses.masked_sum(pixel_losses * scores.reshape(-1, 1, 1), wanted.kept)


def blend(strong: Array, weak: Array, scores: Array) -> Array:
    """Strong and weak uint8 images in the shares h and 1 - h, rounded to whole levels."""
    share = scores.reshape(-1, 1, 1, 1)
    found = share * strong + (1 - share) * weak
    return jnp.clip(jnp.round(found), 0, 255).astype(strong.dtype)


def agreement(student: Array, teacher: Array, valid: Array, threshold: float) -> Array:
    """The score h of each image, [B].

    h is the mean of two products, one for each network: its share of confident pixels, times the
    mean over the classes from 1 on of the IoU of both predictions, weighted with the network's own
    pixels of each class.

    Args:
        student: [B, H, W, K] logits of the weak view.
        teacher: The same of the teacher.
        valid: bool [B, H, W], False on padding.
        threshold: Confidence from which a pixel counts as confident.

    References:
        Zhao et al., CVPR 2023 (iMAS), equations 4 to 6, and the authors' code.
    """
    num_classes = student.shape[-1]
    count = jnp.maximum(jnp.sum(valid, (1, 2)), 1)
    seen, sure = [], []
    for logits in (student, teacher):
        label, confidence = losses.pseudo_labels(logits)
        of_class = jax.nn.one_hot(label, num_classes, dtype=confidence.dtype)
        seen.append(of_class * valid[..., None])
        sure.append(jnp.sum((confidence >= threshold) & valid, (1, 2)) / count)
    both = jnp.sum(seen[0] * seen[1], (1, 2))
    pixels = [jnp.sum(each, (1, 2)) for each in seen]
    iou = both / jnp.maximum(pixels[0] + pixels[1] - both, 1)

    def weighted_iou(own: Array) -> Array:
        weight = own.at[:, 0].set(0)
        return jnp.sum(weight * iou, -1) / jnp.maximum(jnp.sum(weight, -1), 1)

    return (weighted_iou(pixels[0]) * sure[0] + weighted_iou(pixels[1]) * sure[1]) / 2


def mix_by_rank(weak: Mixable, scores: Array, key: Array) -> tuple[Mixable, Array]:
    """Pastes into each image a box of its counterpart from the other end of the ranking.

    Args:
        weak: The images.
        scores: [B] scores h.
        key: Key for the draws.

    Returns:
        The mixed images, and whether this step mixes at all; else they are the images themselves.
    """
    trigger, size, places = jax.random.split(key, 3)
    is_mixed = jax.random.uniform(trigger) < jnp.mean(scores)
    order = jnp.argsort(scores)
    partner = jnp.zeros_like(order).at[order].set(order[::-1])
    rows, height, width = weak.kept.shape
    side = jax.random.uniform(size, minval=0.1, maxval=0.9)
    pasted = boxes(places, side, (height, width), rows, margin=16) & is_mixed
    return weak.pasted(pasted, weak.take(partner)), is_mixed
