"""Class consensus: the cooperative game between the classes that a pixel hesitates between.

The players are the top-N classes of one pixel, the value of a coalition is the entropy of the
softmax over its members, and the consensus of two classes is their Banzhaf interaction. RCC asks
teacher and student to rank the pairs of classes alike. Depends on jax alone.

Reference: Mai, Sun, Wu. "Relaxed Class-consensus Consistency for Semi-supervised Semantic
Segmentation", AAAI 2025, equations 4-11.
"""

import functools

import jax
import jax.numpy as jnp

from rcc_jax.consensus import blocks, checks, game, ranks
from rcc_jax.consensus import players as player_choice

CC_KINDS = ("l2", "ce", "kl")


def _checked_players(logits: jax.Array) -> jax.Array:
    logits = checks.at_least_float32(logits, "logits")
    if logits.ndim == 0:
        raise ValueError("logits must have a last axis of players, got a scalar")
    checks.check_players(logits.shape[-1], "the number of players (last axis of logits)")
    return logits


def subset_entropies(logits: jax.Array) -> jax.Array:
    """Entropy of the softmax restricted to every subset of the players (eq. 6).

    Args:
        logits: [..., N] logits of the N players, 2 <= N <= 8.

    Returns:
        [..., 2**N] entropies in nats, at least float32; bit i of the last index tells whether
        player i is in the subset. The empty set and the single players have entropy 0.

    Raises:
        ValueError: For integer logits, or N outside 2..8.

    >>> print(subset_entropies(jnp.zeros(2)).round(3))
    [0.    0.    0.    0.693]
    """
    logits = _checked_players(logits)
    entropies = game.entropies(jnp.moveaxis(logits, -1, 0))
    empty = jnp.zeros_like(entropies[:1])
    return jnp.moveaxis(jnp.concatenate([empty, entropies]), 0, -1)


def class_consensus(logits: jax.Array) -> jax.Array:
    """Consensus J(u, v) of every pair of players: their Banzhaf interaction (eq. 4, 5, 7).

    Args:
        logits: [..., N] logits of the players, 2 <= N <= 8.

    Returns:
        [..., N * (N - 1) / 2] consensus in nats, pairs in the order of
        `itertools.combinations(range(N), 2)`.

    Raises:
        ValueError: For integer logits, or N outside 2..8.

    >>> [f"{value:.4f}" for value in class_consensus(jnp.zeros(3))]
    ['0.2027', '0.2027', '0.2027']
    """
    entropies = game.entropies(jnp.moveaxis(_checked_players(logits), -1, 0))
    return jnp.moveaxis(game.interactions(entropies), 0, -1)


def soft_ranks(values: jax.Array, temperature: float = 1.0) -> jax.Array:
    """Sigmoid-relaxed descending ranks: 1 + the soft number of larger values (eq. 11).

    Args:
        values: [..., M] values to rank.
        temperature: tau > 0 in the unit of the values; towards 0 the ranks become hard.

    Returns:
        [..., M] ranks between 1 and M that sum to M (M + 1) / 2.

    Raises:
        ValueError: For integer values or a temperature that is not above 0.

    >>> soft_ranks(jnp.array([3.0, 1.0, 2.0]), temperature=0.01).tolist()
    [1.0, 3.0, 2.0]
    """
    values = checks.at_least_float32(values, "values")
    checks.check_temperature(temperature)
    return jnp.moveaxis(ranks.soft_ranks(jnp.moveaxis(values, -1, 0), temperature), 0, -1)


def rank_loss(
    teacher_values: jax.Array, student_values: jax.Array, temperature: float = 1.0
) -> jax.Array:
    """Relative difference of two soft rankings, summed over the ranked values (eq. 9).

    Args:
        teacher_values: [..., M] consensus of the teacher; its gradient is not stopped here.
        student_values: [..., M] consensus of the student.
        temperature: tau of `soft_ranks`, the same for both.

    Returns:
        [...] losses, 0 where both rank alike and always below M.

    Raises:
        ValueError: For mismatched shapes, integer values or a temperature that is not above 0.

    >>> opposite = rank_loss(jnp.array([3.0, 1.0, 2.0]), jnp.array([1.0, 3.0, 2.0]), 0.01)
    >>> f"{opposite:.4f}"
    '1.3333'
    """
    checks.check_same_shape(teacher_values, student_values, "values")
    checks.check_temperature(temperature)
    teacher, student = (
        jnp.moveaxis(checks.at_least_float32(values, "values"), -1, 0)
        for values in (teacher_values, student_values)
    )
    teacher = ranks.soft_ranks(teacher, temperature)
    student = ranks.soft_ranks(student, temperature)
    return ranks.relative_difference(teacher, student)


def top_class_consensus(
    teacher_logits: jax.Array, student_logits: jax.Array, *, top_n: int = 4
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Consensus of teacher and student over the teacher's top classes, as the losses compare it.

    Args:
        teacher_logits: [..., K] logits that choose the players; no gradient flows into them.
        student_logits: [..., K] logits.
        top_n: Number of players N; 2 <= N <= min(8, K).

    Returns:
        The players, ids [..., N] from the likeliest on; the consensus of the teacher and that of
        the student, each [..., N * (N - 1) / 2], pairs in the order of
        `itertools.combinations(range(N), 2)`.

    Raises:
        ValueError: For integer logits, mismatched shapes or a top_n out of range.

    >>> weak, strong = jnp.array([0.0, 3.0, 1.0, 2.0]), jnp.zeros(4)
    >>> players, _, student = top_class_consensus(weak, strong, top_n=3)
    >>> players.tolist(), [f"{value:.4f}" for value in student]
    ([1, 3, 2], ['0.2027', '0.2027', '0.2027'])
    """
    classes, teacher, student = player_choice.top_players(teacher_logits, student_logits, top_n)
    return classes, class_consensus(teacher), class_consensus(student)


def _pixel_losses(
    loss: blocks.Loss, teacher_logits: jax.Array, student_logits: jax.Array, top_n: int
) -> jax.Array:
    _, teacher, student = player_choice.top_players(teacher_logits, student_logits, top_n)
    *pixels, _ = teacher.shape
    images = pixels[0] if len(pixels) > 1 else 1
    teacher, student = (
        jnp.moveaxis(players, -1, 0).reshape(top_n, images, -1) for players in (teacher, student)
    )
    return blocks.in_blocks(loss, teacher, student).reshape(pixels)


def pixel_rcc_loss(
    teacher_logits: jax.Array,
    student_logits: jax.Array,
    *,
    top_n: int = 4,
    temperature: float = 1.0,
) -> jax.Array:
    """`rcc_loss` of every pixel, [...], before the mean.

    >>> logits = jnp.arange(8.0).reshape(2, 4)
    >>> pixel_rcc_loss(logits, logits).tolist()
    [0.0, 0.0]
    """
    checks.check_temperature(temperature)
    if isinstance(temperature, jax.core.Tracer):
        # One that jit or grad traces has a derivative of its own, which blocks do not compute.
        _, teacher, student = top_class_consensus(teacher_logits, student_logits, top_n=top_n)
        return rank_loss(teacher, student, temperature)
    loss = functools.partial(blocks.rank_losses, temperature=temperature)
    return _pixel_losses(loss, teacher_logits, student_logits, top_n)


def pixel_cc_loss(
    teacher_logits: jax.Array, student_logits: jax.Array, *, top_n: int = 4, kind: str = "l2"
) -> jax.Array:
    """`cc_loss` of every pixel, [...], before the mean.

    >>> logits = jnp.arange(8.0).reshape(2, 4)
    >>> pixel_cc_loss(logits, logits).tolist()
    [0.0, 0.0]
    """
    if kind not in CC_KINDS:
        raise ValueError(f"kind must be one of {', '.join(CC_KINDS)}, got {kind!r}")
    loss = functools.partial(blocks.strict_losses, kind=kind)
    return _pixel_losses(loss, teacher_logits, student_logits, top_n)


def _masked_mean(losses: jax.Array, where: jax.Array | None) -> jax.Array:
    if where is None:
        return jnp.mean(losses)
    if jnp.shape(where) != losses.shape:
        raise ValueError(
            f"where must have the shape of the pixels {losses.shape}, got {jnp.shape(where)}"
        )
    kept = jnp.sum(where, dtype=losses.dtype)
    return jnp.sum(jnp.where(where, losses, 0)) / jnp.maximum(kept, 1)


def rcc_loss(
    teacher_logits: jax.Array,
    student_logits: jax.Array,
    *,
    top_n: int = 4,
    temperature: float = 1.0,
    where: jax.Array | None = None,
) -> jax.Array:
    """Relaxed class-consensus consistency of a strong view with its weak view (eq. 9-11).

    Args:
        teacher_logits: [..., K] logits of the weak view; no gradient flows into them.
        student_logits: [..., K] logits of the strong view.
        top_n: Number of players N, the teacher's top classes; 2 <= N <= min(8, K). At N = 2 there
            is one pair only and the loss is 0.
        temperature: tau of the relaxed ranks, above 0.
        where: [...] bool, pixels that count; all if None.

    Returns:
        Scalar mean over the pixels that count, 0 where there are none.

    Raises:
        ValueError: For integer logits, mismatched shapes, a top_n or temperature out of range.

    >>> weak, strong = jnp.array([[3.0, 1.0, 0.0]]), jnp.array([[0.0, 1.0, 3.0]])
    >>> bool(rcc_loss(weak, strong, top_n=3) > 0.01)
    True
    >>> float(rcc_loss(weak, strong, top_n=3, where=jnp.array([False])))
    0.0
    """
    losses = pixel_rcc_loss(teacher_logits, student_logits, top_n=top_n, temperature=temperature)
    return _masked_mean(losses, where)


def cc_loss(
    teacher_logits: jax.Array,
    student_logits: jax.Array,
    *,
    top_n: int = 4,
    kind: str = "l2",
    where: jax.Array | None = None,
) -> jax.Array:
    """Strict class-consensus consistency (eq. 8; the alternatives of Table 5).

    Args:
        teacher_logits: [..., K] logits of the weak view; no gradient flows into them.
        student_logits: [..., K] logits of the strong view.
        top_n: Number of players N, 2 <= N <= min(8, K).
        kind: 'l2' for the squared distance summed over the pairs; 'ce' and 'kl' compare the
            softmax over the pairs (their gradients agree).
        where: [...] bool, pixels that count; all if None.

    Returns:
        Scalar mean over the pixels that count, 0 where there are none.

    Raises:
        ValueError: For integer logits, mismatched shapes, an unknown kind or a top_n out of range.

    >>> weak, strong = jnp.array([[3.0, 1.0, 0.0]]), jnp.array([[0.0, 1.0, 3.0]])
    >>> bool(cc_loss(weak, strong, top_n=3) > 0.01)
    True
    >>> float(cc_loss(weak, weak, top_n=3))
    0.0
    """
    return _masked_mean(
        pixel_cc_loss(teacher_logits, student_logits, top_n=top_n, kind=kind), where
    )
