"""Losses of semi-supervised segmentation: element-wise, with explicit masks."""

import jax
import jax.numpy as jnp

from rcc_jax.labels import IGNORED


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross-entropy of every pixel, 0 where the label is 255.

    Args:
        logits: [..., K] logits.
        labels: [...] integer class ids 0..K-1, 255 = ignored.

    Returns:
        [...] losses in nats, at least float32.

    >>> print(cross_entropy(jnp.zeros((2, 2)), jnp.array([1, 255])).round(3))
    [0.693 0.   ]
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    kept = labels != IGNORED
    # A comparison instead of an indexed read: its gradient needs no scatter.
    is_true = labels[..., None] == jax.lax.broadcasted_iota(
        jnp.int32, logits.shape, logits.ndim - 1
    )
    chosen = jnp.sum(jnp.where(is_true, logits, 0), axis=-1)
    return jnp.where(kept, jax.nn.logsumexp(logits, axis=-1) - chosen, 0)


def pseudo_labels(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Argmax classes and their softmax confidence (eq. 2).

    Args:
        logits: [..., K] logits of the teacher.

    Returns:
        [...] int32 classes and [...] confidences in (0, 1], at least float32.

    >>> classes, confidence = pseudo_labels(jnp.log(jnp.array([[0.2, 0.8], [0.5, 0.5]])))
    >>> classes.tolist(), [f"{value:.2f}" for value in confidence]
    ([1, 0], ['0.80', '0.50'])
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    confidence = jnp.exp(jnp.max(logits, axis=-1) - jax.nn.logsumexp(logits, axis=-1))
    return jnp.argmax(logits, axis=-1).astype(jnp.int32), confidence


def squared_difference(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """Squared difference of the probabilities of every pixel, summed over the classes.

    Args:
        student: [..., K] logits.
        teacher: [..., K] logits; they get no gradient.

    Returns:
        [...], at least float32.

    >>> logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]))
    >>> f"{squared_difference(logits[0], logits[1]):.2f}"
    '0.06'
    """
    wide = jnp.promote_types(student.dtype, jnp.float32)
    teacher, student = (jax.nn.softmax(x.astype(wide)) for x in (teacher, student))
    return jnp.sum((student - jax.lax.stop_gradient(teacher)) ** 2, axis=-1)


def _kth_smallest(values: jax.Array, k: jax.Array | int) -> jax.Array:
    """The k-th smallest (from 1) of non-negative floats.

    Non-negative floats sort like their bit patterns, so the answer is found bit by bit through
    counting. Unlike a sort, this needs only sums over the devices that hold the values.
    """
    integer = {4: jnp.int32, 8: jnp.int64}[values.dtype.itemsize]
    patterns = jax.lax.bitcast_convert_type(values, integer)
    top_bit = 8 * values.dtype.itemsize - 2

    def set_bit(index, prefix):
        candidate = prefix | (jnp.ones((), integer) << (top_bit - index).astype(integer))
        return jnp.where(jnp.sum(patterns < candidate) < k, candidate, prefix)

    found = jax.lax.fori_loop(0, top_bit + 1, set_bit, jnp.zeros((), integer))
    return jax.lax.bitcast_convert_type(found, values.dtype)


def quantile(values: jax.Array, where: jax.Array, share: jax.Array | float) -> jax.Array:
    """The quantile of some non-negative floats, interpolated linearly between two of them.

    Args:
        values: [...] floats.
        where: bool [...], which of them count. If none does, the result means nothing.
        share: From 0, the smallest, to 1, the largest.

    >>> values = jnp.array([0.3, 1.0, 0.1, 0.2, 9.0])
    >>> f"{quantile(values, values < 9, 0.8):.2f}"
    '0.58'
    """
    number = jnp.sum(where)
    place = share * (number - 1).astype(values.dtype)
    before = jnp.floor(place)
    # An absolute value, because the bits of -0.0 are those of a negative number.
    values = jnp.where(where, jnp.abs(values), jnp.inf)
    low = _kth_smallest(values, before.astype(jnp.int32) + 1)
    above = jnp.min(jnp.where(values > low, values, jnp.inf))
    next_is_equal = jnp.sum(values <= low) > before.astype(jnp.int32) + 1
    high = jnp.where(next_is_equal | (place == before), low, above)
    return low + (place - before) * (high - low)


def ohem_mask(
    logits: jax.Array, labels: jax.Array, *, threshold: float, min_kept: int
) -> jax.Array:
    """The hard pixels of the whole batch, for online hard example mining.

    A labelled pixel is kept if its probability of the true class is at most the threshold, or at
    most the `min_kept`-th smallest probability of the batch if that is larger. With fewer than
    `min_kept` labelled pixels, or with `min_kept` = 0, all of them are kept.

    Args:
        logits: [..., K] logits.
        labels: [...] class ids, 255 = ignored.
        threshold: Probability up to which a pixel is hard.
        min_kept: Smallest number of pixels of the batch to keep; 0 = all, as in UniMatch.

    Returns:
        [...] bool.

    >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]))
    >>> ohem_mask(logits, jnp.array([0, 0, 255]), threshold=0.7, min_kept=1).tolist()
    [False, True, False]
    """
    labeled = labels != IGNORED
    if min_kept == 0:
        return labeled
    # Ignored pixels count as the easiest, so that they never lower the threshold.
    probability = jnp.where(labeled, jnp.exp(-cross_entropy(logits, labels)), 1)
    probability = jax.lax.stop_gradient(probability)
    rank = min(min_kept, probability.size)
    limit = jnp.maximum(threshold, _kth_smallest(probability, rank))
    hard = labeled & (probability <= limit)
    return jnp.where(jnp.sum(labeled) < min_kept, labeled, hard)


def masked_sum(losses: jax.Array, where: jax.Array) -> jax.Array:
    """Sum of the losses where `where` is True; the others have no gradient.

    >>> float(masked_sum(jnp.array([1.0, 2.0, 4.0]), jnp.array([True, False, True])))
    5.0
    """
    return jnp.sum(jnp.where(where, losses, 0))
