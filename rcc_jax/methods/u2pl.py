"""U2PL: reliable pixels give pseudo labels, unreliable ones say which classes they are not."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rcc_jax.methods.augseg import Mixable
from rcc_jax.methods.base import Result, Teacher, Views
from rcc_jax.methods.fields import ema_option, ramped
from rcc_jax.methods.lazy import contrast, cutmix, jax, jnp, losses, passes, pseudo
from rcc_jax.methods.with_consensus import StrongView
from rcc_jax.methods.with_contrast import Watched, WithContrast
from rcc_jax.methods.with_soft_labels import WithSoftLabels
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.base import Clock
    from rcc_jax.methods.passes import Counts

# Probability that a step mixes its images.
MIXED = 0.5


@dataclasses.dataclass(frozen=True)
class U2PL(WithContrast, WithSoftLabels):
    """L_x + L_u + lambda * L_consensus + w * L_c.

    L_u = V / R * (mean of the cross-entropies of R reliable pixels), where V is the number of valid
    pixels. A pixel is reliable if the entropy of the EMA teacher on the mixed image is below a
    percentile of the batch, 80 in the first epoch and 100 at the end. Its pseudo label is the
    teacher's class before the mixing. `WithContrast` has L_c.

    Half of the steps mix their weak views: an image gets a box of half the area of the next image
    of the batch. The first `warm_up_epochs`, at most half of the run, train L_x alone and keep no
    negatives; until one epoch later the EMA teacher is a copy of the student. BatchNorm sees the
    mixed images from the first step, in the authors' code only after the warm-up. Padding has no
    pseudo label, and the labels' padding is ignored; in the authors' code both are trained as class
    0. There, the teacher of the mixed images is in training mode with BatchNorm statistics of its
    own, percentiles and means are those of a device, and Cityscapes has an auxiliary head. The
    paper's w is 0.1; the authors' configurations have 1, which their code divides by the number of
    GPUs. The consensus term, off by default, covers the mixed images.
    """

    name: ClassVar[str] = "u2pl"
    summary: ClassVar[str] = "reliable pixels as pseudo labels, unreliable ones as negatives"
    reference: ClassVar[str] = "Wang et al., CVPR 2022, arXiv 2203.03884"
    views: ClassVar[Views] = Views(strong=1, recipe="none", box="none")
    recipes: ClassVar = {"cityscapes": {"ohem_min_kept": 50_000}}
    # The unreliable pixels have none.
    soft_keeps_all: ClassVar[bool] = False

    ema_decay: float = ema_option(0.99)
    warm_up_epochs: int = option(
        1,
        "Epochs without unlabelled images at the start, at most half of the run.",
        at_least=0,
        short="warm_up",
    )

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        def decay(clock: Clock) -> Array:
            copied = clock.step < self.warm_up_steps(clock) + clock.steps_per_epoch
            return jnp.where(copied, 0, ramped(self.ema_decay)(clock))

        return tuple(Teacher(decay, each.labels) for each in super().teachers)

    @property
    def terms(self) -> tuple[str, ...]:
        return (*super().terms, "loss_strong1", "kept_ratio", *self.consensus_terms)

    def counts(self, batch) -> Counts:
        return passes.count_labeled(passes.labels(batch))

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        of_mix, of_contrast = jax.random.split(key)
        x, labels = batch["labeled"]["image"], passes.labels(batch)
        weak_view, valid = batch["unlabeled"]["weak"], batch["unlabeled"]["valid"]
        weak = nets.teacher(weak_view)
        own = self.label(weak)
        mixed = mix(Mixable(weak_view, own.target, own.kept & valid, weak, valid), of_mix)
        both = passes.interleave(x, mixed.image)
        student = Watched(nets.student)
        labeled, strong = passes.separate(student(both))
        teaching = self.teaching(nets, both)
        _, of_mixed = passes.separate(teaching.logits)
        doubt = contrast.doubt(of_mixed, mixed.unlabeled, self.unreliable(clock))

        reliable = mixed.kept & ~doubt.high
        pixel_losses = pseudo.cross_entropy(strong, mixed.target)
        # The padding is mixed too, so the valid pixels are others than before.
        num_valid, kept = passes.count(mixed.unlabeled), passes.count(reliable)
        of_unlabeled = num_valid / kept * losses.masked_sum(pixel_losses, reliable) / kept
        term, push = self.contrast(
            nets.student.module.head(student.merged[0], x.shape[1:3], train=True),
            teaching,
            labels,
            jnp.where(mixed.unlabeled, jnp.argmax(mixed.teacher, -1), losses.IGNORED),
            doubt,
            memory,
            of_contrast,
        )
        terms = {
            "loss_labeled": self.labeled_term(labeled, labels, counts, parts),
            "loss_strong1": of_unlabeled,
            "loss_contrast": term,
            "kept_ratio": jnp.sum(reliable) / num_valid,
        }
        view = StrongView(mixed.teacher, strong, reliable, mixed.unlabeled, num_valid)
        unlabeled = self.add_consensus(of_unlabeled, [view], terms) + self.contrast_weight * term
        is_warm = clock.step >= self.warm_up_steps(clock)
        push = push._replace(number=jnp.where(is_warm, push.number, 0))
        return Result(terms["loss_labeled"] + jnp.where(is_warm, unlabeled, 0), terms, push)

    def warm_up_steps(self, clock: Clock) -> int:
        """Number of steps that train on labelled images alone."""
        return min(self.warm_up_epochs * clock.steps_per_epoch, clock.num_steps // 2)


def mix(images: Mixable, key: Array) -> Mixable:
    """In half of the steps, pastes into each image a box of the next one.

    Args:
        images: The images.
        key: Key for the draws.
    """
    trigger, of_boxes = jax.random.split(key)
    rows, height, width = images.kept.shape
    inside = boxes(of_boxes, (height, width), rows) & (jax.random.uniform(trigger) < MIXED)
    return images.pasted(inside, images.take((jnp.arange(rows) + 1) % rows))


def boxes(key: Array, size: tuple[int, int], rows: int) -> Array:
    """Boxes of half the area, at uniform places within the image.

    Args:
        key: Key for the draws.
        size: Height and width of the images in pixels.
        rows: Number of images B.

    Returns:
        bool [B, height, width], True inside. Their width is uniform from half of the image's to all
        of it.
    """
    height, width = size
    of_width, *of_place = jax.random.split(key, 3)
    wide = jax.random.randint(of_width, (rows,), width // 2 + 1, width + 1)
    high = jnp.minimum(height * width // (2 * wide), height)
    top, left = (
        jax.random.randint(each, (rows,), 0, whole - side + 1)
        for each, whole, side in zip(of_place, size, (high, wide), strict=True)
    )
    corners = jnp.stack([top, left, top + high, left + wide], axis=1)
    return cutmix.box_masks(corners, height, width)
