"""PrevMatch: UniMatch with a second set of pseudo labels, from earlier snapshots of the student."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rcc_jax.methods.base import Result
from rcc_jax.methods.lazy import cutmix, jax, jnp, losses, passes, pseudo
from rcc_jax.methods.unimatch import UniMatch
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.base import Clock, Networks, PyTree
    from rcc_jax.methods.passes import Counts, Logits, Targets


# Folded into the key of a step; far from the small numbers of the dropped channels.
_DRAW = 1_000_000


class Draw(NamedTuple):
    """The snapshots that label a step.

    Attributes:
        number: int32 scalar n; 0 if none is used.
        slots: Places of the snapshots in the memory, int32 [at least n], the first n distinct.
        weights: Their weights, of the same shape; the first n add up to 1, the others are 0.
    """

    number: Array
    slots: Array
    weights: Array


@dataclasses.dataclass(frozen=True)
class PrevMatch(UniMatch):
    """(L_x + L_reg + lambda * L_consensus + r * L_prev) / (2 + r); all but L_prev are UniMatch's.

    L_prev is L_reg with other pseudo labels: L_s1 / 4 + L_s2 / 4 + L_fp / 2 against the labels that
    earlier weights of the student give. A step draws n snapshots, n uniform from 1 to 3, and labels
    the weak views by the sum of w_k z_k, with z_k the logits of snapshot k in evaluation mode and
    w ~ Dirichlet(1, ..., 1); each part of an accumulated batch draws its own. r rises linearly from
    0 to 1 in the first half of the run, and falls back to 0 in the second. Without a snapshot r is
    0 and the loss UniMatch's.

    A snapshot is taken after every epoch, and the oldest gives way. The authors' code takes one
    after each epoch with a new best score on the validation set. That is left out: validation
    labels would choose the teachers, and so leak into the training.

    All snapshots are kept in the memory of each device and in every checkpoint: 4 bytes times the
    parameters of the network for each, 162 MB for ResNet-50, so 1.3 GB for eight.

    With `snapshot_weighting`, each image counts in L_prev with the mean confidence of its valid
    pixels, as the paper's Cityscapes runs intend; the authors' code scales the loss of the whole
    batch by the mean of these.
    """

    name: ClassVar[str] = "prevmatch"
    summary: ClassVar[str] = "UniMatch, labels also from earlier snapshots of the student"
    reference: ClassVar[str] = "Shin et al., 2024, arXiv 2405.20610"

    snapshots: int = option(
        8, "Largest number of snapshots that are kept.", at_least=1, short="snapshots"
    )
    snapshots_mixed: int = option(
        3,
        "Largest number of snapshots that label a step; more than `snapshots` has no effect.",
        at_least=1,
    )
    snapshot_every: int = option(1, "Epochs between two snapshots.", at_least=1)
    snapshot_threshold: float = option(
        0.9,
        "Confidence from which on the pseudo labels of the snapshots count.",
        at_least=0,
        at_most=1,
        only_with=("pseudo_labels", "hard"),
    )
    snapshot_weighting: str = option(
        "none",
        "Weight of an image in the loss against the labels of the snapshots: 'none', or the mean "
        "'confidence' of its pixels.",
        choices=("none", "confidence"),
    )

    @property
    def terms(self) -> tuple[str, ...]:
        return (*super().terms, "loss_previous", "snapshots")

    def memory(self, weights, num_classes: int, key) -> dict[str, Any]:
        places = jax.tree.map(lambda x: jnp.zeros((self.snapshots, *x.shape), x.dtype), weights)
        return {"snapshots": places, "taken": jnp.zeros((), jnp.int32)}

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        logits = self.passes(nets, batch, key)
        targets = passes.targets(batch, self.strong_views)
        own, terms = self.sum_terms(logits, targets, counts, parts=parts)
        kept = jnp.minimum(memory["taken"], self.snapshots)
        share = jnp.where(kept > 0, ramp(clock), 0)
        drawn = draw(jax.random.fold_in(key, _DRAW), kept, self.snapshots, self.snapshots_mixed)
        drawn = drawn._replace(number=jnp.where(share > 0, drawn.number, 0))
        views = passes.interleave(batch["unlabeled"]["weak"], batch["partner"]["weak"])
        mixed = mixed_logits(nets, memory["snapshots"], drawn, views, like=logits.weak)
        previous = self.previous_term(logits, passes.separate(mixed), targets, counts)
        previous = jnp.where(drawn.number > 0, previous, 0)
        terms = {**terms, "loss_previous": previous, "snapshots": kept.astype(float) / parts}
        return Result((2 * own + share * previous) / (2 + share), terms)

    def previous_term(
        self, logits: Logits, snapshots: tuple[Array, Array], targets: Targets, counts: Counts
    ) -> Array:
        """L_prev as a pure function of logits, labels and masks.

        Args:
            logits: Logits of the batch, or of one part of it.
            snapshots: Mixed logits [B, H, W, K] of the weak views of the images and of their
                CutMix partners.
            targets: Labels and masks of the same images.
            counts: `passes.count_pixels` of the WHOLE batch.
        """
        own, partner = snapshots
        teachers = [cutmix.cutmix(pasted, partner, own) for pasted in targets.pasted]
        strong = [
            self.view_term(*each)
            for each in zip(
                logits.strong, teachers, targets.strong_valid, counts.strong, strict=True
            )
        ]
        assert logits.perturbed is not None
        assert counts.weak is not None
        perturbed = self.view_term(logits.perturbed, own, targets.valid, counts.weak)
        return (sum(strong) / len(strong) + perturbed) / 2

    def view_term(self, student: Array, teacher: Array, valid: Array, num_valid: Array) -> Array:
        """The loss of one view against the labels of mixed logits, both [B, H, W, K]."""
        label = self.label(teacher, self.snapshot_threshold)
        pixel_losses = pseudo.cross_entropy(student, label.target)
        if self.snapshot_weighting == "confidence":
            pixel_losses = pixel_losses * image_confidence(teacher, valid).reshape(-1, 1, 1)
        return losses.masked_sum(pixel_losses, label.kept & valid) / num_valid

    def update(self, memory, observations, weights, clock) -> dict[str, Any]:
        taken = memory["taken"]
        # Later if the last step of the epoch was skipped.
        due = (clock.step + 1) // (self.snapshot_every * clock.steps_per_epoch) > taken
        place = taken % self.snapshots

        def put(places: Array, new: Array) -> Array:
            return places.at[place].set(jnp.where(due, new, places[place]))

        places = jax.tree.map(put, memory["snapshots"], weights)
        return {"snapshots": places, "taken": taken + due}


def ramp(clock: Clock) -> Array:
    """r: from 0 to 1 at half of the run, and back to 0."""
    return 1 - jnp.abs(2 * clock.step / clock.num_steps - 1)


def draw(key: Array, kept: Array, places: int, most: int) -> Draw:
    """Which snapshots label a step, and with which weights.

    Args:
        key: Key for the draws.
        kept: int32 scalar, number of snapshots; they are in the first places.
        places: Number of places.
        most: Largest number of snapshots in a step.
    """
    number_key, order_key, weight_key = jax.random.split(key, 3)
    most = min(most, places)
    limit = jnp.minimum(most, kept)
    number = jnp.minimum(jax.random.randint(number_key, (), 1, jnp.maximum(limit, 1) + 1), kept)
    free = jnp.arange(places) >= kept
    order = jnp.argsort(jnp.where(free, 2.0, jax.random.uniform(order_key, (places,))))[:most]
    # Exponential variables over their sum have the distribution Dirichlet(1, ..., 1).
    shares = jnp.where(jnp.arange(most) < number, jax.random.exponential(weight_key, (most,)), 0)
    return Draw(number, order, shares / jnp.maximum(jnp.sum(shares), 1e-30))


def mixed_logits(
    nets: Networks, snapshots: PyTree, drawn: Draw, images: Array, *, like: Array
) -> Array:
    """The weighted sum of the logits of the drawn snapshots; 0 if there are none.

    Args:
        nets: The networks.
        snapshots: Weights whose leaves have one more axis in front, for the places.
        drawn: The snapshots and their weights.
        images: uint8 [B, H, W, 3].
        like: Logits of the same network, for their type and number of classes.
    """

    def add(i: Array, total: Array) -> Array:
        chosen = jax.tree.map(lambda x: x[drawn.slots[i]], snapshots)
        return total + drawn.weights[i].astype(total.dtype) * nets.probe(chosen, images)

    start = jnp.zeros((*images.shape[:3], like.shape[-1]), like.dtype)
    # A loop of n rounds: the passes of snapshots that are not drawn are not computed.
    return jax.lax.fori_loop(0, drawn.number, add, start)


def image_confidence(logits: Array, valid: Array) -> Array:
    """Mean confidence of the valid pixels of each image, [B]; 0 without any."""
    _, confidence = losses.pseudo_labels(logits)
    total = jnp.sum(jnp.where(valid, confidence, 0), axis=(1, 2))
    return total / jnp.maximum(jnp.sum(valid, axis=(1, 2)), 1)
