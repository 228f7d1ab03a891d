"""The forward passes of one step, and the targets of their logits."""

import dataclasses

import jax
import jax.numpy as jnp

from rcc_jax.methods import losses
from rcc_jax.methods.base import Batch, Student
from rcc_jax.methods.cutmix import box_masks, cutmix


def interleave(first: jax.Array, second: jax.Array) -> jax.Array:
    """Two batches [B, ...] as one [2 B, ...] whose rows alternate.

    If the rows are spread over devices, every device pairs its own rows. Unlike a concatenation,
    this moves no data between devices.
    """
    return jnp.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def separate(joined: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The inverse of `interleave`."""
    pairs = joined.reshape(-1, 2, *joined.shape[1:])
    return pairs[:, 0], pairs[:, 1]


@dataclasses.dataclass(frozen=True)
class Logits:
    """Logits [B, H, W, K] of one step.

    Attributes:
        labeled: Student, labelled images.
        strong: Student, one array per strong view, after CutMix.
        weak: Teacher, weak view. Without an EMA teacher, the student's own, with a gradient.
        partner: Teacher, weak view of the CutMix partner; without a gradient.
        perturbed: Student, weak view with dropped feature channels, or None.
    """

    labeled: jax.Array
    strong: tuple[jax.Array, ...]
    weak: jax.Array
    partner: jax.Array
    perturbed: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class Targets:
    """Labels and masks of one step, before CutMix.

    Attributes:
        labels: [B, H, W] class ids of the labelled images, 255 = ignored.
        valid, partner_valid: bool [B, H, W], False on padding.
        pasted: One bool [B, H, W] per strong view: where the partner was pasted.
    """

    labels: jax.Array
    valid: jax.Array
    partner_valid: jax.Array
    pasted: tuple[jax.Array, ...]

    @property
    def strong_valid(self) -> tuple[jax.Array, ...]:
        """The valid pixels of each strong view after CutMix."""
        return tuple(cutmix(mask, self.partner_valid, self.valid) for mask in self.pasted)


@dataclasses.dataclass(frozen=True)
class Counts:
    """Numbers of pixels by which sums of losses are divided, over the whole global batch.

    They are known before the forward passes, so a batch may be split into parts whose losses add up
    to that of the whole. Each is at least 1, so that an empty term is 0.
    """

    labeled: jax.Array
    weak: jax.Array | None = None
    strong: tuple[jax.Array, ...] = ()


for _pytree in (Logits, Targets, Counts):
    jax.tree_util.register_dataclass(_pytree)


def labels(batch: Batch) -> jax.Array:
    """The classes of the labelled images, int32 [B, H, W], 255 = ignored."""
    return batch["labeled"]["label"].astype(jnp.int32)


def targets(batch: Batch, strong_views: int) -> Targets:
    """The labels and masks of a batch with unlabelled images."""
    boxes = batch["unlabeled"]["boxes"]
    height, width = batch["unlabeled"]["valid"].shape[1:]
    return Targets(
        labels=labels(batch),
        valid=batch["unlabeled"]["valid"],
        partner_valid=batch["partner"]["valid"],
        pasted=tuple(box_masks(boxes[:, i], height, width) for i in range(strong_views)),
    )


def count(mask: jax.Array) -> jax.Array:
    """Number of True values, at least 1, as a float."""
    return jnp.maximum(jnp.sum(mask), 1).astype(float)


def count_labeled(labels: jax.Array) -> Counts:
    """The denominators of a whole batch without unlabelled images; labels [B, H, W]."""
    return Counts(labeled=count(labels != losses.IGNORED))


def count_pixels(wanted: Targets) -> Counts:
    """The denominators of a whole batch."""
    return Counts(
        labeled=count(wanted.labels != losses.IGNORED),
        weak=count(wanted.valid),
        strong=tuple(count(valid) for valid in wanted.strong_valid),
    )


def mixed_views(batch: Batch, strong_views: int) -> list[jax.Array]:
    """The strong views of a batch after CutMix, uint8 [B, H, W, 3] each."""
    unlabeled, partner = batch["unlabeled"], batch["partner"]
    pasted = targets(batch, strong_views).pasted
    return [
        cutmix(mask, partner[f"strong{i + 1}"], unlabeled[f"strong{i + 1}"])
        for i, mask in enumerate(pasted)
    ]


def strong_logits(student: Student, batch: Batch, strong_views: int) -> tuple[jax.Array, ...]:
    """The student's logits of the strong views after CutMix; one pass for all of them."""
    mixed = mixed_views(batch, strong_views)
    if len(mixed) == 1:
        return (student(mixed[0]),)
    return separate(student(interleave(*mixed)))
