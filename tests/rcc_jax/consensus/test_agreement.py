"""The agreement of two rankings, against a loop over comparisons."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.consensus import class_consensus
from rcc_jax.consensus.agreement import rank_agreement


@pytest.fixture(scope="module")
def logits():
    """Teacher and student, [3, 4, 5, K]."""
    return np.random.default_rng(0).normal(0, 3, (2, 3, 4, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("top_n", [3, 4])
def test_agreement_is_the_share_of_comparisons_that_come_out_alike(logits, top_n):
    found = np.asarray(rank_agreement(*logits, top_n=top_n)).ravel()
    for value, *pixel in zip(found, *logits.reshape(2, -1, 6), strict=True):
        players = np.argsort(-pixel[0])[:top_n]
        both = [np.asarray(class_consensus(jnp.asarray(part[players]))) for part in pixel]
        pairs = itertools.combinations(range(len(both[0])), 2)
        alike = [(both[0][k] > both[0][j]) == (both[1][k] > both[1][j]) for k, j in pairs]
        assert value == pytest.approx(np.mean(alike))
    assert 0.3 < found.mean() < 0.7


def test_agreement_is_one_where_both_views_are_alike(logits):
    teacher = jnp.asarray(logits[0])
    # A constant does not change the game; uniform logits are ties in both.
    for first, second in ((teacher, teacher), (teacher, teacher + 7), (teacher * 0, teacher * 0)):
        assert (np.asarray(rank_agreement(first, second)) == 1).all()
    # A tie of the student only counts half.
    np.testing.assert_allclose(rank_agreement(teacher, teacher * 0), 0.5, atol=1e-6)


def test_a_single_pair_has_nothing_to_be_compared_with(logits):
    with pytest.raises(ValueError, match="top_n must be at least 3"):
        rank_agreement(*logits, top_n=2)
