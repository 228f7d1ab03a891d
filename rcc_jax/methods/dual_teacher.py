"""Dual Teacher: two EMA teachers take turns, each with its own way to mix images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rcc_jax.methods.base import Result, Teacher, Views
from rcc_jax.methods.fields import ema_option, ramped, threshold_option
from rcc_jax.methods.fixmatch import FixMatch
from rcc_jax.methods.lazy import cutmix, jax, jnp, losses, passes, pseudo
from rcc_jax.methods.with_consensus import StrongView
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.base import Batch, Clock
    from rcc_jax.methods.passes import Targets


class Turn(NamedTuple):
    """Where a step is: the number of its turn, and its number within the turn, both from 0."""

    number: Array
    step: Array


@dataclasses.dataclass(frozen=True)
class DualTeacher(FixMatch):
    """L_x + L_m + lambda * L_consensus + w * L_s, w = 0.2.

    The teacher on duty labels the weak views. L_m is the cross-entropy of the mixed strong views:
    by the boxes of CutMix in the turns of the first teacher, by ClassMix in those of the second.
    ClassMix keeps half of the classes of an image, rounded down, and pastes its partner elsewhere.
    L_m is the mean over the valid pixels, times the share of confident ones: for CutMix that of the
    mixed image, for ClassMix that of the whole batch. With `mixed_pixels=confident`, confident
    pixels alone count instead. L_s is the mean cross-entropy of the confident pixels of the strong
    view before it is mixed, which the student sees in a pass of its own.

    A teacher rests unchanged until its next turn. In step i of a turn, from 0, its decay is
    min(1 - 1 / (i + 1), 0.99), so the first step makes it a copy of the student. Only the labels of
    that first step come from the weights of its last turn; if it is skipped because it is not
    finite, these weights also stay in the average, with the share of one step. The teacher on duty
    is evaluated, predicts and is exported.

    Only the authors' code for SegFormer on ADE20K is public. This is its variant for any network:
    both teachers start as copies of the student, and are in evaluation mode with averaged
    statistics (theirs: random decoders, training mode); views and optimizer are UniMatch's; a turn
    is an epoch of the unlabelled images (theirs: of the labelled ones, see `turn_steps`); the
    confidence is pasted with the labels, and padding does not count. The paper's consistency of
    stochastic sub-networks is L_s with the network's own dropout, which DeepLabv3+ lacks.
    """

    name: ClassVar[str] = "dual_teacher"
    summary: ClassVar[str] = "two EMA teachers in turns, with CutMix and with ClassMix"
    reference: ClassVar[str] = "Na et al., NeurIPS 2023, arXiv 2310.18640"
    views: ClassVar[Views] = Views(strong=1)
    recipe_threshold: ClassVar[bool] = False
    # The shares of confident pixels, and the valid pixels of ClassMix, are of the whole batch.
    accumulates: ClassVar[bool] = False

    ema_decay: float = ema_option(0.99)
    confidence_threshold: float = threshold_option(
        0.95, "Confidence from which on a pixel is confident.", only_with=("pseudo_labels", "hard")
    )
    turn_steps: int = option(
        0, "Steps of a teacher's turn; 0 = those of an epoch.", at_least=0, short="turn"
    )
    mixed_pixels: str = option(
        "valid",
        "Pixels of mixed images that count: all 'valid' ones, weighted with the share of confident "
        "ones, or the 'confident' ones alone.",
        choices=("valid", "confident"),
        only_with=("pseudo_labels", "hard"),
    )
    unmixed_weight: float = option(
        0.2, "Weight w of the strong views before they are mixed.", at_least=0, short="unmixed"
    )

    @property
    def terms(self) -> tuple[str, ...]:
        names = ("loss_labeled", "loss_mixed", "loss_unmixed", "kept_ratio")
        return (*names, *self.consensus_terms)

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        def decay(clock: Clock) -> Array:
            return ramped(self.ema_decay)(clock._replace(step=self.turn(clock).step))

        return (Teacher(decay),)

    def faults(self, num_classes: int | None) -> Iterator[str]:
        yield from super().faults(num_classes)
        if not self.ema_decay:
            yield (
                "config.method.ema_decay = 0: dual_teacher averages its teachers; use a decay "
                "above 0, such as 0.99."
            )

    def turn(self, clock: Clock) -> Turn:
        """The turn of a step."""
        return Turn(*jnp.divmod(clock.step, self.turn_steps or clock.steps_per_epoch))

    def memory(self, weights, num_classes: int, key) -> dict[str, Any]:
        # The turn is that of the teacher outside the memory.
        return {"resting": jax.tree.map(jnp.copy, weights), "turn": jnp.zeros((), jnp.int32)}

    def on_duty(self, averaged, memory, clock) -> tuple[Any, dict[str, Any]]:
        # By the parity and not by the first step, which may be skipped.
        turn = self.turn(clock).number.astype(jnp.int32)
        changes = (turn - memory["turn"]) % 2 == 1

        def choose(if_changed: Any, otherwise: Any) -> Any:
            return jax.tree.map(lambda *x: jnp.where(changes, *x), if_changed, otherwise)

        resting = memory["resting"]
        return choose(resting, averaged), {"resting": choose(averaged, resting), "turn": turn}

    def counts(self, batch):
        targets = passes.targets(batch, 1)
        labeled = passes.count(targets.labels != losses.IGNORED)
        return passes.Counts(labeled=labeled, weak=passes.count(targets.valid))

    def loss(self, nets, batch: Batch, memory, *, counts, parts, clock, key) -> Result:
        x, unlabeled, other = batch["labeled"]["image"], batch["unlabeled"], batch["partner"]
        targets = passes.targets(batch, 1)
        weak, partner = nets.teacher(unlabeled["weak"]), nets.teacher(other["weak"])
        own = self.label(weak)
        pasted = self.pasted(weak, targets, self.turn(clock), key)
        valid = cutmix.cutmix(pasted, targets.partner_valid, targets.valid)
        wanted = pseudo.mixed(pasted, self.label(partner), own)
        images = cutmix.cutmix(pasted, other["strong1"], unlabeled["strong1"])
        labeled, mixed = passes.separate(nets.student(passes.interleave(x, images)))
        unmixed = nets.student(unlabeled["strong1"])

        by_box = self.turn(clock).number % 2 == 0
        confident = wanted.kept & valid
        pixel_losses = pseudo.cross_entropy(mixed, wanted.target)
        if self.mixed_pixels == "confident":
            total = losses.masked_sum(pixel_losses, confident)
        else:
            weights = jnp.where(by_box, share(confident, valid, (1, 2)), share(confident, valid))
            total = losses.masked_sum(weights * pixel_losses, valid)
        num_valid, sure = passes.count(valid), own.kept & targets.valid
        of_strong = losses.masked_sum(pseudo.cross_entropy(unmixed, own.target), sure)
        terms = {
            "loss_labeled": self.labeled_term(labeled, targets.labels, counts, parts),
            "loss_mixed": total / num_valid,
            "loss_unmixed": of_strong / passes.count(sure),
            "kept_ratio": jnp.sum(sure) / counts.weak,
        }
        teacher = cutmix.cutmix(pasted, partner, weak)
        view = StrongView(teacher, mixed, wanted.kept, valid, num_valid)
        regularization = self.add_consensus(terms["loss_mixed"], [view], terms)
        regularization = regularization + self.unmixed_weight * terms["loss_unmixed"]
        return Result(terms["loss_labeled"] + regularization, terms)

    def pasted(self, weak: Array, targets: Targets, turn: Turn, key: Array) -> Array:
        """Where the partner is pasted, bool [B, H, W]: by the box, or outside of half the classes.

        Args:
            weak: Logits [B, H, W, K] of the teacher.
            targets: Labels and masks.
            turn: The turn of the step.
            key: Key for the classes.
        """
        kept = half_of_the_classes(jnp.argmax(weak, -1), targets.valid, weak.shape[-1], key)
        (by_box,) = targets.pasted
        return jnp.where(turn.number % 2 == 0, by_box, ~kept)


def half_of_the_classes(labels: Array, valid: Array, num_classes: int, key: Array) -> Array:
    """The valid pixels of half of the classes in each image, rounded down, drawn at random.

    Args:
        labels: [B, H, W] classes.
        valid: bool [B, H, W], False on padding.
        num_classes: Number of classes K.
        key: Key for the draw.

    Returns:
        bool [B, H, W].

    References:
        Olsson et al., "ClassMix", WACV 2021, arXiv 2007.07936.
    """
    of_class = jax.nn.one_hot(labels, num_classes, dtype=bool) & valid[..., None]
    present = jnp.any(of_class, axis=(1, 2))
    draws = jnp.where(present, jax.random.uniform(key, present.shape), 2)
    ranks = jnp.argsort(jnp.argsort(draws, axis=1), axis=1)
    chosen = ranks < jnp.sum(present, axis=1, keepdims=True) // 2
    return jnp.any(of_class & chosen[:, None, None, :], axis=-1)


def share(confident: Array, valid: Array, axes: tuple[int, ...] | None = None) -> Array:
    """The share of confident pixels among the valid ones, over some axes, which stay."""
    found = jnp.sum(confident, axes, keepdims=True)
    return found / jnp.maximum(jnp.sum(valid, axes, keepdims=True), 1)
