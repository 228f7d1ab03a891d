"""Pairs of the top class, soft targets and the agreement, against plain float64 numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax import consensus
from rcc_jax.consensus.players import top_players
from tests.support.plain_game import plain_gradient, plain_term

KINDS = ("rank", *consensus.CC_KINDS, "soft")
SHAPE = (2, 3, 6)


def pixel_losses(kind, teacher, student, top_n=4):
    """The soft term, or another one among the pairs of the top class."""
    if kind == "soft":
        return consensus.pixel_soft_loss(teacher, student, top_n=top_n)
    if kind == "rank":
        return consensus.pixel_rcc_loss(teacher, student, top_n=top_n, temperature=0.3, pairs="top")
    return consensus.pixel_cc_loss(teacher, student, top_n=top_n, kind=kind, pairs="top")


@jax.jit  # One program for most tests.
def losses_with_gradients(teacher, student):
    """For each kind the losses, and the gradients of their sum for teacher and student."""

    def summed(teacher, student, kind):
        losses = pixel_losses(kind, teacher, student)
        return jnp.sum(losses), losses

    found = {}
    for kind in KINDS:
        (_, losses), gradients = jax.value_and_grad(summed, (0, 1), has_aux=True)(
            teacher, student, kind
        )
        found[kind] = losses, *gradients
    return found


def noise(*shape):
    return np.random.default_rng(0).normal(scale=2, size=shape)


def in_float64(teacher, student):
    with jax.enable_x64(True):
        return jax.device_get(losses_with_gradients(teacher, student))


def test_values_and_gradients_are_those_of_the_equations():
    teacher, student = noise(2, *SHAPE)
    for kind, (losses, of_teacher, of_student) in in_float64(teacher, student).items():
        assert losses.dtype == np.float64
        assert not np.any(of_teacher)
        for at in np.ndindex(SHAPE[:-1]):

            def plain(logits, kind=kind, at=at):
                return plain_term(teacher[at], logits, kind, 4, "top", tau=0.3)

            np.testing.assert_allclose(losses[at], plain(student[at]), atol=1e-12)
            expected = plain_gradient(plain, student[at])
            np.testing.assert_allclose(of_student[at], expected, atol=1e-8)


def test_equal_logits_lose_nothing_and_pull_nowhere():
    logits = noise(*SHAPE)
    for kind, (losses, _, gradient) in in_float64(logits, logits).items():
        if kind != "ce":  # It leaves the entropy of the target.
            np.testing.assert_allclose(losses, 0, atol=1e-14)
        if kind != "rank":  # It has a kink at equality.
            np.testing.assert_allclose(gradient, 0, atol=1e-14)


def test_log_probabilities_are_the_same_game_as_logits():
    both = noise(2, *SHAPE)
    logs = both - np.log(np.exp(both).sum(-1, keepdims=True))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12),
        in_float64(*logs),
        in_float64(*both),
    )
    with jax.enable_x64(True):
        entropies = jax.jit(consensus.subset_entropies)
        np.testing.assert_allclose(entropies(logs), entropies(both), atol=1e-12)


def test_losses_are_finite_at_extremes():
    logits = np.zeros(SHAPE)
    logits[0] = [1e4, -1e4, 0, 3, 1e4, -1e4]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(in_float64(logits, logits[::-1])))


def test_player_zero_is_the_teachers_top_class():
    teacher, student = noise(2, 30, 6).astype(np.float32)
    teacher[0] = 0  # Of equal classes the first.
    classes, *_ = jax.jit(top_players, static_argnums=2)(teacher, student, 4)
    np.testing.assert_array_equal(classes[:, 0], teacher.argmax(-1))


def test_means_and_a_traced_temperature_take_the_same_pairs():
    teacher, student = noise(2, 10, 6).astype(np.float32)

    @jax.jit
    def run(temperature):
        few = {"top_n": 3, "pairs": "top"}
        ranked = functools.partial(consensus.pixel_rcc_loss, teacher, student, **few)
        strict = consensus.pixel_cc_loss(teacher, student, **few)
        return (
            [ranked(temperature=temperature), jnp.mean(ranked()), jnp.mean(strict)],
            [
                ranked(temperature=0.3),
                consensus.rcc_loss(teacher, student, **few),
                consensus.cc_loss(teacher, student, **few),
            ],
        )

    found, expected = run(0.3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_soft_targets_of_half_precision_are_computed_in_float32(dtype):
    half = jnp.asarray(noise(2, 10, 6), dtype)
    loss = jax.jit(consensus.pixel_soft_loss)
    found = loss(*half)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, loss(*half.astype(jnp.float32)))


def test_the_agreement_is_a_share_and_the_same_in_every_block():
    teacher, student = noise(2, 1, 5000, 6).astype(np.float32)  # More pixels than a block.
    agreement = jax.jit(functools.partial(consensus.rank_agreement, top_n=3))
    found = np.asarray(agreement(teacher, student))
    assert found.shape == (1, 5000)
    assert (found >= 0).all()
    assert (found <= 1).all()
    np.testing.assert_array_equal(found[:, -900:], agreement(teacher[:, -900:], student[:, -900:]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: consensus.rcc_loss(x, x, pairs="first"), "pairs must be one of all, top"),
        (lambda x: consensus.cc_loss(x, x, pairs="first"), "pairs must be one of all, top"),
        (lambda x: consensus.pixel_soft_loss(x, x, top_n=6), "top_n = 6 needs at least"),
        (lambda x: consensus.pixel_soft_loss(x, x[:1]), "must have the same shape"),
        (lambda x: consensus.pixel_soft_loss(x.astype(int), x), "must be floating-point"),
    ],
)
def test_bad_input_is_a_value_error(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((2, 5), np.float32))
