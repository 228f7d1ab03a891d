"""FixMatch for segmentation: pseudo labels of a weak view teach a strong one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rcc_jax.methods.base import Networks, Result, Views
from rcc_jax.methods.lazy import cutmix, jax, jnp, losses, passes
from rcc_jax.methods.supervised import Supervised
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.passes import Counts, Logits, Targets


@dataclasses.dataclass(frozen=True)
class FixMatch(Supervised):
    """(L_x + L_s1) / 2, where L_s1 is the cross-entropy of a strong view against pseudo labels.

    A pseudo label is the teacher's most likely class in the weak view; it counts where its
    probability is at least gamma. The sum is divided by ALL valid pixels (eq. 2 and 3 of RCC).
    CutMix is applied to the strong view and in the same way to the labels and masks of its pixels.
    """

    name: ClassVar[str] = "fixmatch"
    summary: ClassVar[str] = "pseudo labels of the weak view, one strong view with CutMix"
    reference: ClassVar[str] = "Sohn et al., NeurIPS 2020; for segmentation Yang et al., CVPR 2023"
    views: ClassVar[Views] = Views(strong=1)

    confidence_threshold: float = option(
        0.95,
        "Confidence gamma: pseudo labels below it are ignored.",
        at_least=0,
        at_most=1,
        short="gamma",
        symbol="gamma",
    )

    @property
    def terms(self) -> tuple[str, ...]:
        strong = (f"loss_strong{i + 1}" for i in range(self.strong_views))
        return ("loss_labeled", *strong, "kept_ratio")

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
        self, logits: Logits, targets: Targets, counts: Counts, *, parts: int = 1
    ) -> tuple[Array, dict[str, Array]]:
        """Loss and terms as a pure function of logits, labels and masks.

        Args:
            logits: Logits of the batch, or of one part of it.
            targets: Labels and masks of the same images.
            counts: `passes.count_pixels` of the WHOLE batch.
            parts: Number of parts that the batch is split into; their terms are added up.
        """
        terms = {"loss_labeled": self.labeled_term(logits.labeled, targets.labels, counts, parts)}
        regularization = self.unlabeled_term(logits, targets, counts, terms)
        return (terms["loss_labeled"] + regularization) / 2, terms

    def unlabeled_term(self, logits, targets, counts, terms: dict[str, Array]) -> Array:
        """L_reg: the mean over the strong views; also adds each view's loss to `terms`."""
        label, confidence = losses.pseudo_labels(jax.lax.stop_gradient(logits.weak))
        partner = losses.pseudo_labels(jax.lax.stop_gradient(logits.partner))
        kept = (confidence >= self.confidence_threshold) & targets.valid
        terms["kept_ratio"] = jnp.sum(kept) / counts.weak
        found = []
        for i, (student, pasted, valid) in enumerate(
            zip(logits.strong, targets.pasted, targets.strong_valid, strict=True)
        ):
            mixed, sure = (
                cutmix.cutmix(pasted, other, own)
                for other, own in zip(partner, (label, confidence), strict=True)
            )
            where = (sure >= self.confidence_threshold) & valid
            loss = losses.masked_sum(losses.cross_entropy(student, mixed), where)
            found.append(loss / counts.strong[i])
            terms[f"loss_strong{i + 1}"] = found[-1]
        return sum(found) / len(found)
