"""CPS: two networks with different decoders, each trained on the other's pseudo labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rcc_jax.methods.base import Networks, Result, Student, Views
from rcc_jax.methods.fields import label_threshold_option
from rcc_jax.methods.lazy import jax, jnp, losses, passes
from rcc_jax.methods.two_networks import Outputs, TwoNetworks
from rcc_jax.options import option

if TYPE_CHECKING:
    from rcc_jax.methods.passes import Counts, Targets


@dataclasses.dataclass(frozen=True)
class CPS(TwoNetworks):
    """Sum over both networks of L_x + w * L_c + lambda * L_consensus.

    L_c is the cross-entropy of a network against the other's most likely classes, without a
    threshold. With CutMix, it is the mean over the valid pixels of the mixed images, into which
    three boxes of another image are pasted where an odd number of them overlap, a quarter of the
    image on average. Without CutMix, it is the mean over the pixels of labelled and unlabelled
    images together, and both networks see the same images.

    The two networks have the same architecture and start from the same encoder, if it is
    pretrained; their decoders are drawn separately. Evaluation, prediction and export use the first
    one, as in the paper. The code labels the images to be mixed in training mode; here the pseudo
    labels of CutMix come from evaluation mode with the running statistics. Without CutMix they come
    from the pass that is trained, as in the code. Padding and ignored pixels of labelled images do
    not count; in the code they do. The code divides the loss by the number of GPUs, so its
    effective learning rate is lower than what it prints.

    The confidence threshold and soft labels are options that the paper's method does not have.
    """

    name: ClassVar[str] = "cps"
    summary: ClassVar[str] = "two networks, each with the other's pseudo labels, with CutMix"
    reference: ClassVar[str] = "Chen et al., CVPR 2021, arXiv 2106.01226"
    views: ClassVar[Views] = Views(strong=1, recipe="none", box="toggled")
    recipes: ClassVar = {"cityscapes": {"cross_weight": 5.0, "ohem_min_kept": 50_000}}

    cutmix: str = option(
        "on",
        "'on': the networks learn mixed unlabelled images. 'off': unlabelled and labelled images "
        "as they are.",
        choices=("on", "off"),
        short="cutmix",
        symbol="CutMix",
    )
    cross_weight: float = option(
        1.0,
        "Weight w of the other network's pseudo labels. The cells of PASCAL VOC have the source's "
        "1 with CutMix and 1.5 without, those of Cityscapes 5 and 6.",
        at_least=0,
        short="cross",
        symbol="w",
    )
    confidence_threshold: float = label_threshold_option(0.0)

    def __post_init__(self):
        if self.cutmix == "off":
            # No partner has to be read.
            object.__setattr__(self, "views", dataclasses.replace(self.views, box="none"))

    @classmethod
    def recipe(cls, data: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        own = super().recipe(data, given)
        if given.get("cutmix") != "off":
            return own
        if data == "cityscapes":
            return {**own, "cross_weight": 6.0}
        return {**own, "cross_weight": 1.5} if data.startswith("pascal") else own

    def counts(self, batch) -> Counts:
        return passes.count_pixels(self.targets(batch))

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        outputs = self.mixed if self.cutmix == "on" else self.plain
        networks = {"student": nets.student, "second": nets.second}
        one, two = (outputs(name, network, nets, batch) for name, network in networks.items())
        targets = self.targets(batch)
        # `sum_terms` halves the sum of the labelled and the other loss.
        loss, terms = self.cross_terms((one, two), (targets, targets), (counts, counts), parts)
        return Result(2 * loss, terms)

    def unlabeled_term(self, logits, targets, labels, counts, terms: dict):
        return self.cross_weight * super().unlabeled_term(logits, targets, labels, counts, terms)

    def targets(self, batch) -> Targets:
        """Labels and masks of what the networks learn from each other."""
        if self.cutmix == "on":
            return passes.targets(batch, 1)
        labels = passes.labels(batch)
        valid = passes.interleave(labels != losses.IGNORED, batch["unlabeled"]["valid"])
        return passes.Targets(labels, valid, valid, (jnp.zeros_like(valid),))

    def mixed(self, name: str, network: Student, nets: Networks, batch) -> Outputs:
        """One network's logits of mixed images and, in evaluation mode, of what they are made of.

        Args:
            name: The name of the network for `nets.probe`.
            network: The network in training mode.
            nets: All networks.
            batch: The batch.
        """
        labeled = network(batch["labeled"]["image"])
        (learned,) = passes.strong_logits(network, batch, 1)
        weak, partner = (nets.probe(name, batch[x]["weak"]) for x in ("unlabeled", "partner"))
        return Outputs(labeled, learned, weak, partner)

    def plain(self, name: str, network: Student, nets: Networks, batch) -> Outputs:
        """One network's logits of the labelled and the unlabelled images; arguments as above."""
        labeled = network(batch["labeled"]["image"])
        both = passes.interleave(labeled, network(batch["unlabeled"]["weak"]))
        fixed = jax.lax.stop_gradient(both)
        return Outputs(labeled, both, fixed, fixed)
