"""Losses between the players of teacher and student, with the players on the leading axis.

A pixel has far more intermediate values (63 subsets and 105 comparisons of pairs at N = 6) than
inputs and outputs. So pixels are processed in blocks that fit in the processor's cache, and the
forward pass computes the derivative too: only N numbers per pixel are kept for the backward pass.
Depends only on jax.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from rcc_jax.consensus import game, players
from rcc_jax.consensus import ranks as soft_ranking
from rcc_jax.consensus.products import multiply_for_gradient

# Pixels per block. On accelerators a block only bounds the memory; a small one would idle them.
_CPU_BLOCK, _BLOCK = 4096, 2**20

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def rcc_losses(
    teacher: jax.Array, student: jax.Array, temperature: float, pairs: str = "all"
) -> jax.Array:
    """Relative difference of the soft rankings of pairs (RCC, eq. 9): two [N, ...] to [...].

    Args:
        teacher: Logits of the players, [N, ...].
        student: Logits of the same players, [N, ...].
        temperature: tau.
        pairs: The pairs that are ranked: 'all', or 'top' for those of player 0.
    """
    ranks = [
        soft_ranking.soft_ranks(consensus(logits, pairs), temperature, multiply_for_gradient)
        for logits in (teacher, student)
    ]
    return soft_ranking.relative_difference(*ranks)


def cc_losses(teacher: jax.Array, student: jax.Array, kind: str, pairs: str = "all") -> jax.Array:
    """Difference of the consensus itself (RCC, eq. 8 and table 5): two [N, ...] to [...].

    Args:
        teacher: Logits of the players, [N, ...].
        student: Logits of the same players, [N, ...].
        kind: 'l2', 'ce' or 'kl'.
        pairs: The pairs that are compared: 'all', or 'top' for those of player 0.
    """
    teacher, student = consensus(teacher, pairs), consensus(student, pairs)
    if kind == "l2":
        return jnp.sum(jnp.square(teacher - student), axis=0)
    target = jax.nn.softmax(teacher, axis=0)
    cross_entropy = -jnp.sum(target * jax.nn.log_softmax(student, axis=0), axis=0)
    if kind == "ce":
        return cross_entropy
    return cross_entropy + jnp.sum(target * jax.nn.log_softmax(teacher, axis=0), axis=0)


def soft_losses(teacher: jax.Array, student: jax.Array) -> jax.Array:
    """KL divergence between the softmax over the players of teacher and student.

    Args:
        teacher: Logits of the players, [N, ...].
        student: Logits of the same players, [N, ...].

    Returns:
        [...] in nats.
    """
    target, found = (jax.nn.log_softmax(logits, axis=0) for logits in (teacher, student))
    return jnp.sum(jnp.exp(target) * (target - found), axis=0)


def consensus(logits: jax.Array, pairs: str = "all") -> jax.Array:
    """Consensus of the pairs of players, [N, ...] to [M, ...]: 'all', or 'top' for player 0's."""
    values = game.interactions(game.entropies(logits), multiply_for_gradient)
    # The pairs of player 0 come first.
    return values if pairs == "all" else values[: len(logits) - 1]


def of_pixels(
    loss: Loss, teacher_logits: jax.Array, student_logits: jax.Array, top_n: int
) -> jax.Array:
    """A loss between the teacher's top classes, of logits [..., K] to [...], block by block."""
    _, teacher, student = players.top_players(teacher_logits, student_logits, top_n)
    *pixels, _ = teacher.shape
    images = pixels[0] if len(pixels) > 1 else 1
    teacher, student = (
        jnp.moveaxis(each, -1, 0).reshape(top_n, images, -1) for each in (teacher, student)
    )
    return in_blocks(loss, teacher, student).reshape(pixels)


def in_blocks(
    loss: Loss, teacher: jax.Array, student: jax.Array, *, block: int | None = None
) -> jax.Array:
    """Evaluates a loss of single pixels block by block; only the student gets a derivative.

    Args:
        loss: From players [N, B, P] of teacher and student to [B, P], each pixel by itself.
        teacher: [N, B, P]; its derivative is 0.
        student: [N, B, P]; has first-order reverse-mode derivatives.
        block: Pixels per block; the default depends on the platform. Blocks are cut along P, so
            that the images B may be sharded over devices.

    Returns:
        Losses [B, P].
    """
    if block is None:
        block = _CPU_BLOCK if jax.default_backend() == "cpu" else _BLOCK
    return _in_blocks(loss, block, teacher, student)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _in_blocks(loss: Loss, block: int, teacher: jax.Array, student: jax.Array) -> jax.Array:
    return _map(loss, block, teacher, student)


def _forward(loss, block, teacher, student):
    def with_derivative(teacher, student):
        losses, pull_back = jax.vjp(lambda student: loss(teacher, student), student)
        return losses, *pull_back(jnp.ones_like(losses))

    return _map(with_derivative, block, teacher, student)


def _backward(loss, block, derivative, cotangent):
    return None, cotangent[None] * derivative


_in_blocks.defvjp(_forward, _backward)


def _map(function, block: int, *arrays: jax.Array):
    """Applies a function of arrays [N, B, P] to blocks of the last axis and joins its outputs."""
    players, images, pixels = arrays[0].shape
    size = max(1, min(pixels, block // max(1, images)))
    count = -(-pixels // size)
    if count <= 1:
        return function(*arrays)

    def cut(x):
        x = jnp.pad(x, ((0, 0), (0, 0), (0, count * size - pixels)))
        return jnp.moveaxis(x.reshape(players, images, count, size), 2, 0)

    def join(x):
        x = jnp.moveaxis(x, 0, -2)
        return x.reshape(*x.shape[:-2], count * size)[..., :pixels]

    blocks = jax.lax.map(lambda block: function(*block), [cut(x) for x in arrays])
    return jax.tree.map(join, blocks)
