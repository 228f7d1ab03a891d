"""U2PL's contrastive term: a pixel's vector near the mean of its class, far from negatives.

All statistics are of the whole batch: percentiles, means, the choice of pixels.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rcc_jax.labels import IGNORED
from rcc_jax.methods import losses, ring

ANCHORS = 256
NEGATIVES = 50
# New negatives per class and step.
PUSHED = 1024
TEMPERATURE = 0.5
# The teacher's probability of its class that an anchor exceeds.
SURE = 0.3
# Ranks of a class at a pixel, 0 = likeliest. A labelled pixel is a negative of the class at ranks
# below the first number, an unlabelled one from there to below the second.
RANKS = (3, 20)


class Doubt(NamedTuple):
    """The unlabelled pixels of low and of high entropy, bool [B, H, W]; False on padding."""

    low: jax.Array
    high: jax.Array


class Pixels(NamedTuple):
    """What decides the part of each pixel; each array is [N] or [N, K].

    Attributes:
        label: Class of the mask or of the pseudo label; 255 = ignored.
        labeled: bool, whether the image has a mask.
        low, high: As in `Doubt`; both True on labelled pixels that are not ignored.
        logits: The teacher's.
    """

    label: jax.Array
    labeled: jax.Array
    low: jax.Array
    high: jax.Array
    logits: jax.Array


class Parts(NamedTuple):
    """The pixels with a part in the loss of each class, bool [K, N].

    Attributes:
        anchor: Pixels whose vectors the loss moves.
        positive: Pixels whose mean the anchors are drawn to.
        negative: Pixels that enter the memory of the class.
    """

    anchor: jax.Array
    positive: jax.Array
    negative: jax.Array


def doubt(logits: jax.Array, valid: jax.Array, share: jax.Array | float) -> Doubt:
    """The pixels where a teacher is surest and where it is least sure.

    Args:
        logits: [B, H, W, K] of the teacher.
        valid: bool [B, H, W], False on padding.
        share: The share of the valid pixels in either.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    log_p = jax.nn.log_softmax(logits)
    entropy = jnp.abs(jnp.sum(jnp.exp(log_p) * log_p, axis=-1))
    low, high = (losses.quantile(entropy, valid, at) for at in (share, 1 - share))
    return Doubt(valid & (entropy <= low), valid & (entropy >= high))


def ranks(logits: jax.Array) -> jax.Array:
    """The rank of each class at each pixel, [N, K]: 0 = likeliest; of equal ones the first.

    >>> ranks(jnp.array([[0.1, 2.0, 0.1]])).tolist()
    [[1, 0, 2]]
    """
    own, other = logits[:, :, None], logits[:, None, :]
    index = jnp.arange(logits.shape[-1])
    first = (other == own) & (index[None, None] < index[None, :, None])
    return jnp.sum((other > own) | first, axis=-1)


def parts(pixels: Pixels, rule: str) -> Parts:
    """The part of each pixel in the loss of each class.

    Args:
        pixels: The pixels.
        rule: 'paper', or 'released' for the negatives that the authors' code finds.

    References:
        Wang et al., CVPR 2022, section 3.
    """
    is_class = pixels.label[:, None] == jnp.arange(pixels.logits.shape[-1])[None]
    positive = is_class & pixels.low[:, None]
    wide = jnp.promote_types(pixels.logits.dtype, jnp.float32)
    anchor = positive & (jax.nn.softmax(pixels.logits.astype(wide)) > SURE)
    rank, (first, last) = ranks(pixels.logits), RANKS
    unsure = (pixels.high & ~pixels.labeled)[:, None] & (first <= rank) & (rank < last)
    if rule == "released":
        negative = unsure & is_class
    else:
        known = (pixels.labeled & (pixels.label != IGNORED))[:, None]
        negative = unsure | (known & ~is_class & (rank < first))
    return Parts(anchor.T, positive.T, negative.T)


def find(mask: jax.Array, ordinals: jax.Array) -> jax.Array:
    """Indices of the True values with these ordinals, from 0; any index if there are fewer.

    Args:
        mask: bool [K, N].
        ordinals: int [K, M].

    >>> find(jnp.array([[False, True, True]]), jnp.array([[1, 0, 0]])).tolist()
    [[2, 1, 1]]
    """
    number = jnp.cumsum(mask, axis=1, dtype=jnp.int32)
    found = jax.vmap(jnp.searchsorted)(number, ordinals + 1)
    return jnp.minimum(found, mask.shape[1] - 1)


def evenly(mask: jax.Array, most: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Indices of at most so many True values per class, at equal distances from a random start.

    Args:
        mask: bool [K, N].
        most: Largest number M of indices.
        key: Key for the starts.

    Returns:
        int [K, M], and the numbers [K] of those that count; every True value has the same chance.
    """
    number = jnp.sum(mask, axis=1, dtype=jnp.int32)[:, None]
    start = jax.random.uniform(key, number.shape)
    ordinals = jnp.arange(most)[None]
    spread = ((ordinals + start) * (number / most)).astype(jnp.int32)
    ordinals = jnp.where(number > most, jnp.minimum(spread, number - 1), ordinals)
    return find(mask, ordinals), jnp.minimum(number[:, 0], most)


def unit(x: jax.Array) -> jax.Array:
    """Vectors [..., D] divided by their length, at least float32."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x**2, axis=-1, keepdims=True), 1e-16))


def new_negatives(found: Parts, teacher: jax.Array, most: int, key: jax.Array) -> ring.Push:
    """The directions of negatives of this batch, for the memory.

    Args:
        found: The parts of the pixels.
        teacher: [N, D] vectors.
        most: Largest number of negatives of a class.
        key: Key for the choice.
    """
    index, number = evenly(found.negative, most, key)
    return ring.Push(unit(teacher[index]), number)


def loss(
    student: jax.Array,
    teacher: jax.Array,
    found: Parts,
    memory: ring.Ring,
    push: ring.Push,
    key: jax.Array,
    rule: str,
) -> jax.Array:
    """L_c: the mean over the classes that have positives, 0 if there is at most one.

    Of every class with anchors and negatives, `ANCHORS` anchors and for each of them `NEGATIVES`
    negatives are drawn, with replacement. Only anchors have a gradient.

    Args:
        student: [N, D] vectors.
        teacher: The same of the teacher.
        found: The parts of the pixels.
        memory: The negatives of earlier steps.
        push: Those of this step, which count too.
        key: Key for the draws.
        rule: 'paper', or 'released': there the classes that have positives are counted, and the
            i-th class meets the memory of the i-th of those, up to their number.

    References:
        Wang et al., CVPR 2022, section 3.
    """
    teacher = jax.lax.stop_gradient(teacher)
    classes = jnp.arange(found.anchor.shape[0])
    of_anchor, of_negative = jax.random.split(key)
    anchors = jnp.sum(found.anchor, axis=1)
    ordinals = jax.random.randint(
        of_anchor, (len(classes), ANCHORS), 0, jnp.maximum(anchors, 1)[:, None]
    )
    anchor = unit(student[find(found.anchor, ordinals)])
    positive = unit(found.positive.astype(teacher.dtype) @ teacher)
    is_present = jnp.any(found.positive, axis=1)
    present = jnp.sum(is_present)
    meets, trains = classes, anchors > 0
    if rule == "released":
        meets = jnp.argsort(~is_present, stable=True)
        trains &= classes < present
    filled = jnp.minimum(memory.filled + push.number, memory.keys.shape[1])[meets]

    @jax.checkpoint
    def of_class(each: tuple[Any, ...]) -> jax.Array:
        vectors, mean, queue, most, draw = each
        slots = jax.random.randint(draw, (ANCHORS, NEGATIVES), 0, jnp.maximum(most, 1))
        negatives = ring.read(memory, push, queue, slots).astype(vectors.dtype)
        far = jnp.einsum("ad,and->an", vectors, negatives)
        cosines = jnp.concatenate([(vectors @ mean)[:, None], far], axis=1)
        return jnp.mean(-jax.nn.log_softmax(cosines / TEMPERATURE)[:, 0])

    # One class at a time: the vectors of all negatives would take several hundred megabytes.
    each = (anchor, positive, meets, filled, jax.random.split(of_negative, len(classes)))
    of_classes = jax.lax.map(of_class, each)
    total = losses.masked_sum(of_classes, trains & (filled > 0))
    return jnp.where(present > 1, total / jnp.maximum(present, 1), 0)
