"""What holds of the consensus for any logits, on examples that hypothesis picks."""

import functools
import itertools

import hypothesis
import hypothesis.extra.numpy
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies

from rcc_jax import consensus

PIXELS = 4
few = hypothesis.settings(max_examples=20, derandomize=True, deadline=None, database=None)


def pairs(players):
    return list(itertools.combinations(range(players), 2))


@strategies.composite
def logits(draw, players=(2, 3, 5), bound=20):
    """Float32 [PIXELS, M]; few values of M, each of which is compiled."""
    count = draw(strategies.sampled_from(players))
    value = strategies.floats(-bound, bound, width=32)
    array = hypothesis.extra.numpy.arrays(np.float32, (PIXELS, count), elements=value)
    return draw(array)


@functools.partial(jax.jit, static_argnums=1)
def ranks(values, temperature):
    return consensus.soft_ranks(values, temperature)


class_consensus = jax.jit(consensus.class_consensus)
rank_loss = jax.jit(consensus.rank_loss)


@few
@hypothesis.given(logits(), strategies.randoms(use_true_random=False))
def test_a_permutation_of_the_players_permutes_the_pairs(given, random):
    players = given.shape[-1]
    order = random.sample(range(players), players)
    # The consensus is symmetric in its pair: (u, v) and (v, u) are one entry.
    moved = [pairs(players).index(tuple(sorted((order[u], order[v])))) for u, v in pairs(players)]
    np.testing.assert_allclose(
        class_consensus(given[:, order]), class_consensus(given)[:, np.array(moved)], atol=1e-5
    )


@few
@hypothesis.given(logits(), strategies.floats(-50, 50, width=32))
def test_a_shift_of_the_logits_changes_nothing(given, shift):
    shifted = (given.astype(np.float64) + shift).astype(np.float32)
    # The logits themselves are rounded once more.
    np.testing.assert_allclose(class_consensus(shifted), class_consensus(given), atol=1e-4)


@few
@hypothesis.given(logits((3, 6)), strategies.sampled_from((0.01, 0.3, 1.0, 10.0)))
def test_soft_ranks_sum_to_those_of_an_order(values, temperature):
    found = ranks(values, temperature)
    count = values.shape[-1]
    np.testing.assert_allclose(found.sum(-1), count * (count + 1) / 2, rtol=1e-5)
    assert (found >= 1 - 1e-5).all()
    assert (found <= count + 1e-5).all()


@few
@hypothesis.given(logits((3, 6)), strategies.randoms(use_true_random=False))
def test_equal_values_lose_nothing_and_another_order_does(values, random):
    np.testing.assert_allclose(rank_loss(values, values), 0, atol=1e-6)
    # Clearly apart: the same values in reverse order.
    apart = np.argsort(np.argsort(values)).astype(np.float32)
    assert (rank_loss(apart, apart[:, ::-1]) > 0).all() or (apart == apart[:, ::-1]).all()


@few
@hypothesis.given(logits((5,)), logits((5,)))
def test_only_the_players_count(teacher, student):
    """Classes that the teacher finds least likely may have any logits in the student."""
    # So that the classes that are left out do not change.
    teacher = np.sort(teacher)[:, ::-1] + np.linspace(1, 0, 5, dtype=np.float32)
    other = student.copy()
    other[:, 3:] += 5
    loss = functools.partial(consensus.pixel_rcc_loss, top_n=3)
    np.testing.assert_array_equal(loss(teacher, student), loss(teacher, other))
    assert jnp.isfinite(loss(teacher, student)).all()
