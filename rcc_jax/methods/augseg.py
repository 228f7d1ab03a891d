"""AugSeg: an EMA teacher, random colour operations, and CutMix with pieces of labelled images."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from rcc_jax.methods.base import Result, Views
from rcc_jax.methods.fields import copied_first, ema_option
from rcc_jax.methods.fixmatch import FixMatch
from rcc_jax.methods.lazy import cutmix, jax, jnp, losses, passes, pseudo
from rcc_jax.methods.with_consensus import StrongView

if TYPE_CHECKING:
    from jax import Array


class Counts(NamedTuple):
    """Numbers of pixels of the whole batch.

    Attributes:
        labeled: Labelled pixels.
        all: Pixels of the unlabelled images, padding included.
        weak: Valid pixels of the unlabelled images.
    """

    labeled: Array
    all: Array
    weak: Array


class Mixable(NamedTuple):
    """Images with what is pasted along with their pixels.

    Attributes:
        image: uint8 [B, H, W, 3].
        target: Classes [B, H, W], or [B, H, W, K] of soft labels.
        kept: bool [B, H, W], where the target counts.
        teacher: Logits [B, H, W, K] of the teacher.
        unlabeled: bool [B, H, W], True on valid pixels of an unlabelled image.
    """

    image: Array
    target: Array
    kept: Array
    teacher: Array
    unlabeled: Array

    def pasted(self, mask: Array, other: Mixable) -> Mixable:
        """The same with the pixels of another where the mask [B, H, W] is True."""
        return Mixable(*(cutmix.cutmix(mask, *pair) for pair in zip(other, self, strict=True)))

    def take(self, order: Array) -> Mixable:
        """The same with its rows in another order."""
        return Mixable(*(each[order] for each in self))


@dataclasses.dataclass(frozen=True)
class AugSeg(FixMatch):
    """L_x + L_u + lambda * L_consensus, with L_u over all pixels of the mixed images.

    Each image gets a box of another mixed image, into which a piece of a labelled image was pasted
    first, with a probability that grows with the teacher's doubt. The order of the images, from
    one permutation of the whole batch (of each part of an accumulated one), and the sizes of the
    boxes are the same for all images of a step. In the first epoch the EMA teacher is a copy of the
    student. Padding of unlabelled images gets no pseudo label (in the authors' code it gets one),
    but counts in the denominator as there. The consensus term, off by default, covers pixels of
    unlabelled images and has the denominator of L_u.
    """

    name: ClassVar[str] = "augseg"
    summary: ClassVar[str] = "an EMA teacher, random operations, CutMix with labelled pieces"
    reference: ClassVar[str] = "Zhao et al., CVPR 2023, arXiv 2212.04976"
    views: ClassVar[Views] = Views(strong=1, recipe="augseg", box="none")
    recipes: ClassVar = {"cityscapes": {"ema_decay": 0.996, "ohem_min_kept": 25_000}}
    # An image alone would get a piece of itself.
    least_images: ClassVar[int] = 2
    ema_rule: ClassVar[staticmethod] = staticmethod(copied_first)

    ema_decay: float = ema_option(0.999)

    def counts(self, batch):
        valid = batch["unlabeled"]["valid"]
        labeled = passes.labels(batch) != losses.IGNORED
        every = jnp.asarray(valid.size).astype(float)
        return Counts(passes.count(labeled), every, passes.count(valid))

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        x, labels = batch["labeled"]["image"], passes.labels(batch)
        weak = nets.teacher(batch["unlabeled"]["weak"])
        own = self.label(weak)
        valid = batch["unlabeled"]["valid"]
        strong = Mixable(batch["unlabeled"]["strong1"], own.target, own.kept & valid, weak, valid)
        known = Mixable(
            x,
            labels if own.target.ndim == 3 else jax.nn.one_hot(labels, weak.shape[-1]),
            labels != losses.IGNORED,
            jnp.zeros_like(weak),
            jnp.zeros_like(valid),
        )
        mixed = mix(strong, known, certainty(weak), key)
        labeled, student = passes.separate(nets.student(passes.interleave(x, mixed.image)))
        supervised = self.labeled_term(labeled, labels, counts, parts)
        pixel_losses = pseudo.cross_entropy(student, mixed.target)
        terms = {
            "loss_labeled": supervised,
            "loss_strong1": losses.masked_sum(pixel_losses, mixed.kept) / counts.all,
            "kept_ratio": jnp.sum(own.kept & valid) / counts.weak,
        }
        view = StrongView(mixed.teacher, student, mixed.kept, mixed.unlabeled, counts.all)
        unlabeled = self.add_consensus(terms["loss_strong1"], [view], terms)
        return Result(supervised + unlabeled, terms)


def certainty(logits: Array) -> Array:
    """How sure a teacher is of each image, [B]: the mean of (1 - H / log K) * max p over pixels.

    Args:
        logits: [B, H, W, K]; H is the entropy of their softmax, p the softmax.

    References:
        Zhao et al., CVPR 2023, section 3.3.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    log_p = jax.nn.log_softmax(logits)
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
    sure = (1 - entropy / jnp.log(logits.shape[-1])) * jnp.exp(jnp.max(log_p, axis=-1))
    return jnp.mean(sure, axis=(1, 2))


def mix(strong: Mixable, labeled: Mixable, scores: Array, key: Array) -> Mixable:
    """Pastes labelled pieces into doubtful images, and pieces of those into all images.

    Args:
        strong: Unlabelled images.
        labeled: As many labelled images.
        scores: [B] `certainty` of the unlabelled images.
        key: Key for the draws.
    """
    keys = jax.random.split(key, 6)
    rows, height, width = strong.kept.shape
    order = jax.random.permutation(keys[0], rows)
    inner = boxes(keys[1], side_outside(jax.random.beta(keys[2], 8.0, 2.0)), (height, width), rows)
    doubtful = jax.random.uniform(keys[3], (rows,)) < 1 - scores
    injected = strong.pasted(inner & doubtful[:, None, None], labeled.take(order))
    outer = boxes(keys[4], side_outside(jax.random.beta(keys[5], 4.0, 4.0)), (height, width), rows)
    return strong.pasted(outer, injected.take(order))


def side_outside(kept: Array) -> Array:
    """The side of a box, as a share of the image's, that leaves a share `kept` outside."""
    return jnp.sqrt(1 - kept)


def boxes(key: Array, side: Array, size: tuple[int, int], rows: int, margin: int = 8) -> Array:
    """Boxes around random places, cut at the border of the image.

    Args:
        key: Key for the places.
        side: Sides of the boxes as a share of the image's, a scalar.
        size: Height and width of the images in pixels.
        rows: Number of images B.
        margin: Places start at 1 / margin of the height and width.

    Returns:
        bool [B, height, width], True inside.
    """
    lengths = jnp.array([size])
    half = jnp.floor(lengths * side).astype(jnp.int32) // 2
    place = jax.random.randint(key, (rows, 2), lengths // margin, lengths)
    corners = [jnp.clip(place + sign * half, 0, lengths) for sign in (-1, 1)]
    return cutmix.box_masks(jnp.concatenate(corners, axis=1), *size)
