"""UniMatch with U2PL's contrastive term."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from rcc_jax.methods.base import Networks, Result
from rcc_jax.methods.lazy import contrast, cutmix, jax, jnp, losses, passes
from rcc_jax.methods.unimatch import UniMatch
from rcc_jax.methods.with_contrast import Watched, WithContrast

if TYPE_CHECKING:
    from jax import Array


class _Watching:
    """Networks whose student is watched."""

    def __init__(self, nets: Networks):
        self.student = Watched(nets.student)
        self.teacher, self.probe = nets.teacher, nets.probe
        self.read_teacher = nets.read_teacher


@dataclasses.dataclass(frozen=True)
class UniMatchU2PL(WithContrast, UniMatch):
    """(L_x + L_s1 / 4 + L_s2 / 4 + L_fp / 2 + lambda * L_consensus + w * L_c) / 2.

    L_c is U2PL's, see `WithContrast`, on labelled images and on the first strong view after CutMix:
    anchors are the student's vectors in its usual passes; one more pass of the teacher, in
    evaluation mode, gives the entropies, ranks and vectors of the same images. The classes of
    unlabelled pixels are those of the weak views, mixed in the same way, without a threshold. The
    RCC paper's ablation has such a row and says no more about it: these choices are ours. Without
    an EMA teacher, its default, the student itself teaches.
    """

    name: ClassVar[str] = "unimatch_u2pl"
    summary: ClassVar[str] = "UniMatch + U2PL's contrastive term"
    reference: ClassVar[str] = "Wang et al., CVPR 2022; on UniMatch as in Mai, Sun, Wu, AAAI 2025"

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        of_passes, of_contrast = jax.random.split(key)
        watching: Any = _Watching(nets)
        logits = self.passes(watching, batch, of_passes)
        targets = passes.targets(batch, self.strong_views)
        loss, terms = self.sum_terms(logits, targets, counts)

        teaching = self.teaching(
            nets,
            passes.interleave(
                batch["labeled"]["image"], passes.mixed_views(batch, self.strong_views)[0]
            ),
        )
        _, of_strong = passes.separate(teaching.logits)
        valid = targets.strong_valid[0]
        teacher = cutmix.cutmix(targets.pasted[0], logits.partner, logits.weak)
        terms["loss_contrast"], push = self.contrast(
            self.vectors(nets, watching.student.merged, targets.labels.shape[1:]),
            teaching,
            targets.labels,
            jnp.where(valid, jnp.argmax(teacher, -1), losses.IGNORED),
            contrast.doubt(of_strong, valid, self.unreliable(clock)),
            memory,
            of_contrast,
        )
        return Result(loss + self.contrast_weight * terms["loss_contrast"] / 2, terms, push)

    def vectors(self, nets: Networks, merged: list[Array], size: tuple[int, int]) -> Array:
        """The student's vectors of the labelled images and first strong views, alternating.

        Args:
            nets: The networks.
            merged: Merged features of the passes of UniMatch: the rows of the first are clean and
                dropped ones of labelled and weak images, those of the second both strong views.
            size: Height and width of the images in pixels.
        """
        clean, _ = passes.separate(merged[0])
        labeled, _ = passes.separate(clean)
        strong, _ = passes.separate(merged[1])
        both: Any = passes.interleave(labeled, strong)
        module: Any = nets.student.module
        return module.head(both, size, train=True)
