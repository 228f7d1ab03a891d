"""Co-training: two different backbones, each on a strong view with the other's pseudo labels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rcc_jax.methods.base import Result, Student, Views
from rcc_jax.methods.fields import label_threshold_option
from rcc_jax.methods.lazy import pair, passes
from rcc_jax.methods.two_networks import Outputs, TwoNetworks
from rcc_jax.models.families import BACKBONES
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array


@dataclasses.dataclass(frozen=True)
class CoTraining(TwoNetworks):
    """Sum over both networks of (L_x + L_u + lambda * L_consensus) / 2.

    L_u is the cross-entropy of a network on its own strong view against the other's most likely
    classes in the weak view, without a threshold; CutMix is applied to view and labels alike. The
    sum is divided by all valid pixels. Each network sees labelled and weak images in one batch.

    The second network has another backbone: a ResNet beside DINOv2, or a ResNet of another depth.
    Fields of `config.model` that its family has are those of the configuration. Evaluation,
    prediction and export use the first network alone. The source reports the best of its two
    or three networks in its best epoch, so the network may differ between numbers; here it is
    chosen before the training.

    This is the method of Diverse Co-training without its branch of JPEG's DCT coefficients, whose
    network needs ImageNet weights of its own: the second network sees the image. Each strong view
    has its own CutMix box, where the source draws one on the grid of the coefficients. Pseudo
    labels of the CutMix partner come from evaluation mode with the running statistics; those of the
    image from the pass that is trained, as in the source. One optimizer trains both networks, as
    there, with one learning rate.
    """

    name: ClassVar[str] = "co_training"
    summary: ClassVar[str] = "two different backbones, each with the other's pseudo labels"
    reference: ClassVar[str] = "Li et al., ICCV 2023, arXiv 2308.09281, without its DCT branch"
    views: ClassVar[Views] = Views(strong=2)

    second_backbone: str = option(
        "dinov2_small",
        "The encoder of the second network, another one than model.backbone. The crop must be a "
        "multiple for both.",
        choices=tuple(BACKBONES),
        short="second",
        symbol="second",
    )
    second_pretrained: str = option(
        "",
        "Initial weights of the second network, with the values of model.pretrained.",
        in_tables=False,
    )
    confidence_threshold: float = label_threshold_option(0.0)

    def network(self, make, rngs):
        return pair.Pair(make(rngs), make(rngs, backbone=self.second_backbone))

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        views = passes.mixed_views(batch, 2)
        networks = {"student": nets.student, "second": nets.second}
        one, two = (
            self.outputs(network, batch, view, nets.probe(name, batch["partner"]["weak"]))
            for (name, network), view in zip(networks.items(), views, strict=True)
        )
        both = passes.targets(batch, 2)
        first, second = (dataclasses.replace(both, pasted=(mask,)) for mask in both.pasted)
        of_first, of_second = (dataclasses.replace(counts, strong=(x,)) for x in counts.strong)
        return Result(*self.cross_terms((one, two), (first, second), (of_first, of_second), parts))

    def outputs(self, network: Student, batch, view: Array, partner: Array) -> Outputs:
        """The logits of one network.

        Args:
            network: The network in training mode.
            batch: The batch.
            view: Its strong view after CutMix.
            partner: Its logits of the CutMix partner's weak view.
        """
        x, u = batch["labeled"]["image"], batch["unlabeled"]["weak"]
        labeled, weak = passes.separate(network(passes.interleave(x, u)))
        return Outputs(labeled, network(view), weak, partner)
