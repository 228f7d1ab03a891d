"""Losses in blocks of pixels have the values and derivatives of all pixels at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax import consensus
from rcc_jax.consensus import blocks

SHAPE = (4, 2, 101)


def value_and_derivative(loss, teacher, student, weights, block):
    def weighted(student):
        losses = blocks.in_blocks(loss, teacher, student, block=block)
        return jnp.sum(losses * weights), losses

    return jax.jit(jax.value_and_grad(weighted, has_aux=True))(student)


@pytest.mark.parametrize(
    "loss",
    [
        functools.partial(blocks.rcc_losses, temperature=0.3),
        *(functools.partial(blocks.cc_losses, kind=kind) for kind in ("l2", "kl")),
    ],
)
def test_blocks_change_nothing(loss):
    """Also if the last block is not full, and for pixels of different weights."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        teacher, student = jnp.asarray(rng.normal(size=(2, *SHAPE)) * 3)
        weights = jnp.asarray(rng.uniform(size=SHAPE[1:]))
        (_, expected), slope = value_and_derivative(loss, teacher, student, weights, 10**6)
        plain = jax.jit(jax.grad(lambda s: jnp.sum(loss(teacher, s) * weights)))(student)
        np.testing.assert_allclose(slope, plain, rtol=1e-9, atol=1e-12)
        for block in (None, 64, 1):
            (_, losses), found = value_and_derivative(loss, teacher, student, weights, block)
            np.testing.assert_allclose(losses, expected, rtol=1e-10, atol=1e-13)
            np.testing.assert_allclose(found, slope, rtol=1e-8, atol=1e-12)


def test_blocks_bound_the_memory():
    loss = functools.partial(blocks.rcc_losses, temperature=1.0)
    players = jnp.zeros((6, 2, 20_000))

    def memory(block):
        run = jax.jit(jax.grad(lambda s: jnp.sum(_in_blocks(loss, players, s, block))))
        return run.lower(players).compile().memory_analysis().temp_size_in_bytes

    def _in_blocks(loss, teacher, student, block):
        return blocks.in_blocks(loss, teacher, student, block=block)

    assert memory(2000) < memory(10**6) / 5


def test_pixel_losses_are_those_of_their_parts():
    """For images of any shape, and for a traced temperature, which blocks cannot differentiate."""
    rng = np.random.default_rng(1)
    weak, strong = jnp.asarray(rng.normal(size=(2, 2, 3, 5, 7)), jnp.float32)
    _, teacher, student = consensus.top_class_consensus(weak, strong, top_n=4)
    expected = consensus.rank_loss(teacher, student, 0.5)
    rank = jax.jit(functools.partial(consensus.pixel_rcc_loss, top_n=4))
    np.testing.assert_allclose(rank(weak, strong, temperature=0.5), expected, atol=1e-6)
    np.testing.assert_allclose(
        rank(weak[0, 0, 0], strong[0, 0, 0], temperature=0.5), expected[0, 0, 0], atol=1e-6
    )

    @jax.jit
    def mean(temperature):
        return jnp.mean(rank(weak, strong, temperature=temperature))

    slope = jax.grad(mean)(0.5)
    difference = (mean(0.51) - mean(0.49)) / 0.02
    np.testing.assert_allclose(slope, difference, rtol=1e-2)
