"""FixMatch for segmentation: pseudo labels of a weak view teach a strong one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from rcc_jax.methods.base import Networks, Result, Views
from rcc_jax.methods.fields import label_threshold_option
from rcc_jax.methods.lazy import cutmix, jnp, losses, passes, pseudo
from rcc_jax.methods.with_consensus import NONE, StrongView
from rcc_jax.methods.with_soft_labels import WithSoftLabels

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.passes import Counts, Logits, Targets
    from rcc_jax.methods.pseudo import Pseudo


class Labels(NamedTuple):
    """Pseudo labels of the weak views of the images and of their CutMix partners."""

    own: Pseudo
    partner: Pseudo


@dataclasses.dataclass(frozen=True)
class FixMatch(WithSoftLabels):
    """(L_x + L_s1) / 2, where L_s1 is the cross-entropy of a strong view against pseudo labels.

    A pseudo label is the teacher's most likely class in the weak view; it counts where its
    probability is at least gamma. The sum is divided by ALL valid pixels (eq. 2 and 3 of RCC).
    CutMix is applied to the strong view and in the same way to the labels and masks of its pixels.
    With soft labels, every pixel counts, and its target is a distribution over the likely classes.
    """

    name: ClassVar[str] = "fixmatch"
    summary: ClassVar[str] = "pseudo labels of the weak view, one strong view with CutMix"
    reference: ClassVar[str] = "Sohn et al., NeurIPS 2020; for segmentation Yang et al., CVPR 2023"
    views: ClassVar[Views] = Views(strong=1)

    confidence_threshold: float = label_threshold_option(0.95)

    @property
    def terms(self) -> tuple[str, ...]:
        strong = (f"loss_strong{i + 1}" for i in range(self.strong_views))
        return ("loss_labeled", *strong, "kept_ratio", *self.consensus_terms)

    def threshold(self, memory) -> float:
        return self.confidence_threshold if self.pseudo_labels == "hard" else 0.0

    @property
    def least_confidence(self) -> float:
        return self.confidence_threshold

    def counts(self, batch) -> Counts:
        return passes.count_pixels(passes.targets(batch, self.strong_views))

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        logits = self.passes(nets, batch, key)
        targets = passes.targets(batch, self.strong_views)
        return Result(*self.sum_terms(logits, targets, counts, parts=parts))

    def passes(self, nets: Networks, batch, key: Array) -> Logits:
        """The forward passes of a step: labelled and weak images together, then strong views."""
        x, u = batch["labeled"]["image"], batch["unlabeled"]["weak"]
        labeled, weak = passes.separate(nets.student(passes.interleave(x, u)))
        return self.with_teacher(nets, batch, labeled=labeled, weak=weak)

    def with_teacher(self, nets: Networks, batch, *, weak: Array, **others) -> Logits:
        """Adds the strong views and the teacher; `weak` are the student's own logits."""
        strong = passes.strong_logits(nets.student, batch, self.strong_views)
        if any(teacher.labels for teacher in self.teachers):
            weak = nets.teacher(batch["unlabeled"]["weak"])
        partner = nets.teacher(batch["partner"]["weak"])
        return passes.Logits(strong=strong, weak=weak, partner=partner, **others)

    def sum_terms(
        self,
        logits: Logits,
        targets: Targets,
        counts: Counts,
        *,
        parts: int = 1,
        labels: Labels | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        """Loss and terms as a pure function of logits, labels and masks.

        Args:
            logits: Logits of the batch, or of one part of it.
            targets: Labels and masks of the same images.
            counts: `passes.count_pixels` of the WHOLE batch.
            parts: Number of parts that the batch is split into; their terms are added up.
            labels: Pseudo labels; None for those of the teacher's logits.
        """
        if labels is None:
            labels = Labels(self.label(logits.weak), self.label(logits.partner))
        terms = {"loss_labeled": self.labeled_term(logits.labeled, targets.labels, counts, parts)}
        regularization = self.unlabeled_term(logits, targets, labels, counts, terms)
        terms["kept_ratio"] = jnp.sum(labels.own.kept & targets.valid) / counts.weak
        if self.consensus != NONE:
            views = strong_view_pairs(logits, targets, labels, counts)
            regularization = self.add_consensus(regularization, views, terms)
        return (terms["loss_labeled"] + regularization) / 2, terms

    def unlabeled_term(
        self, logits: Logits, targets: Targets, labels: Labels, counts: Counts, terms: dict
    ) -> Array:
        """L_reg: the mean over the strong views; also adds each view's loss to `terms`."""
        found = []
        for i, (student, pasted, valid) in enumerate(
            zip(logits.strong, targets.pasted, targets.strong_valid, strict=True)
        ):
            mixed = pseudo.mixed(pasted, labels.partner, labels.own)
            pixel_losses = pseudo.cross_entropy(student, mixed.target)
            found.append(losses.masked_sum(pixel_losses, mixed.kept & valid) / counts.strong[i])
            terms[f"loss_strong{i + 1}"] = found[-1]
        return sum(found) / len(found)


def strong_view_pairs(
    logits: Logits, targets: Targets, labels: Labels, counts: Counts
) -> list[StrongView]:
    """Teacher and student of each strong view, with CutMix applied to the teacher's logits."""
    return [
        StrongView(
            teacher=cutmix.cutmix(pasted, logits.partner, logits.weak),
            student=student,
            kept=cutmix.cutmix(pasted, labels.partner.kept, labels.own.kept),
            valid=valid,
            num_valid=count,
        )
        for student, pasted, valid, count in zip(
            logits.strong, targets.pasted, targets.strong_valid, counts.strong, strict=True
        )
    ]
