"""UniMatch: FixMatch with two strong views and a third stream of perturbed features."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rcc_jax.methods.base import Networks, Views
from rcc_jax.methods.fixmatch import FixMatch
from rcc_jax.methods.lazy import jax, layers, losses, passes, pseudo

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.passes import Logits


@dataclasses.dataclass(frozen=True)
class UniMatch(FixMatch):
    """(L_x + L_s1 / 4 + L_s2 / 4 + L_fp / 2) / 2.

    L_fp is the cross-entropy of the weak view with dropped feature channels, against the pseudo
    labels of the same view.
    """

    name: ClassVar[str] = "unimatch"
    summary: ClassVar[str] = "FixMatch with two strong views and dropped feature channels"
    reference: ClassVar[str] = "Yang et al., CVPR 2023, arXiv 2208.09910"
    views: ClassVar[Views] = Views(strong=2)

    @property
    def terms(self) -> tuple[str, ...]:
        return (*super().terms, "loss_perturbed")

    def passes(self, nets: Networks, batch, key: Array) -> Logits:
        x, u = batch["labeled"]["image"], batch["unlabeled"]["weak"]
        features = nets.student.encode(passes.interleave(x, u))
        # Decode clean and dropped features in one batch, so that BatchNorm sees both.
        both = jax.tree.map(passes.interleave, features, drop_channels(features, key))
        clean, dropped = passes.separate(nets.student.decode(both, x.shape[1:3]))
        labeled, weak = passes.separate(clean)
        _, perturbed = passes.separate(dropped)
        return self.with_teacher(nets, batch, labeled=labeled, weak=weak, perturbed=perturbed)

    def unlabeled_term(self, logits, targets, labels, counts, terms: dict) -> Array:
        strong = super().unlabeled_term(logits, targets, labels, counts, terms)
        pixel_losses = pseudo.cross_entropy(logits.perturbed, labels.own.target)
        loss = losses.masked_sum(pixel_losses, labels.own.kept & targets.valid)
        terms["loss_perturbed"] = loss / counts.weak
        return (strong + terms["loss_perturbed"]) / 2


def drop_channels(features, key: Array):
    """Drops half of the channels at random, independently for each image and feature map.

    The four levels of a transformer are four maps; UniMatch, which has none, does not say.

    Args:
        features: Pytree of arrays [B, ..., C].
        key: Key for the random draws.

    Returns:
        The same tree; the channels that are kept are doubled (as in PyTorch's Dropout2d).

    Reference:
        Yang et al., CVPR 2023, section 3.2 (feature perturbation).
    """
    leaves, tree = jax.tree.flatten(features)
    keys = [jax.random.fold_in(key, i) for i in range(len(leaves))]
    return tree.unflatten(
        [layers.dropout_channels(leaf, each) for leaf, each in zip(leaves, keys, strict=True)]
    )
