"""CutMix-Seg: the student repeats a teacher's probabilities on an equally mixed image."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from rcc_jax.methods.base import Result, Views
from rcc_jax.methods.fields import consistency_option, constant, ema_option, threshold_option
from rcc_jax.methods.lazy import cutmix, jnp, losses, passes, pseudo
from rcc_jax.methods.with_consensus import StrongView, WithConsensus


@dataclasses.dataclass(frozen=True)
class CutMixSeg(WithConsensus):
    """L_x + w * c * M + lambda * L_consensus.

    M is the squared difference of the probabilities, summed over the classes, on images that are
    mixed by a box of half the area; its mean is over the valid pixels. c is the share of them of
    which the teacher is sure: one number for the batch, not a mask. The consensus term, off by
    default, stands beside c. The paper trains with Adam; here the optimizer is that of the
    configuration. Padding does not count; in the paper's code it does. There, student and teacher
    are both in training mode, with BatchNorm frozen at the pretrained statistics in the runs from
    ImageNet weights. Here, the teacher is in evaluation mode with the averaged statistics.
    """

    name: ClassVar[str] = "cutmix_seg"
    summary: ClassVar[str] = "the mixed probabilities of an EMA teacher on an equally mixed image"
    reference: ClassVar[str] = "French et al., BMVC 2020, arXiv 1906.01916"
    views: ClassVar[Views] = Views(strong=1, recipe="none", box="half_area")
    recipe_threshold: ClassVar[bool] = False
    # c is a share of the whole batch.
    accumulates: ClassVar[bool] = False
    ema_rule: ClassVar[staticmethod] = staticmethod(constant)

    ema_decay: float = ema_option(0.99)
    consistency_weight: float = consistency_option(1.0)
    confidence_threshold: float = threshold_option(
        0.97, "Probability from which on the teacher is sure of a pixel."
    )

    @property
    def terms(self) -> tuple[str, ...]:
        return ("loss_labeled", "loss_consistency", "kept_ratio", *self.consensus_terms)

    def threshold(self, memory) -> float:
        return self.confidence_threshold

    def counts(self, batch):
        return passes.count_pixels(passes.targets(batch, 1))

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        labels = passes.labels(batch)
        supervised = self.labeled_term(
            nets.student(batch["labeled"]["image"]), labels, counts, parts
        )
        targets = passes.targets(batch, 1)
        (pasted,), (valid,), (num_valid,) = targets.pasted, targets.strong_valid, counts.strong
        (student,) = passes.strong_logits(nets.student, batch, 1)
        weak, partner = (nets.teacher(batch[x]["weak"]) for x in ("unlabeled", "partner"))
        teacher = cutmix.cutmix(pasted, partner, weak)
        sure = pseudo.hard(teacher, self.confidence_threshold).kept
        share = jnp.sum(sure & valid) / num_valid
        difference = losses.masked_sum(losses.squared_difference(student, teacher), valid)
        terms = {
            "loss_labeled": supervised,
            "loss_consistency": share * difference / num_valid,
            "kept_ratio": share,
        }
        unlabeled = self.consistency_weight * terms["loss_consistency"]
        view = StrongView(teacher, student, sure, valid, num_valid)
        return Result(supervised + self.add_consensus(unlabeled, [view], terms), terms)
