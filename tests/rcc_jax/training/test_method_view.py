"""Kept pixels and agreement, against the probabilities and a loop over comparisons."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.consensus import class_consensus
from rcc_jax.training.method_view import method_view, rank_agreement


@pytest.fixture(scope="module")
def logits():
    """Teacher and student, [3, 4, 5, K]; the last row is padding of a batch."""
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
    # The game does not see a constant; uniform logits leave everything open in both.
    for first, second in ((teacher, teacher), (teacher, teacher + 7), (teacher * 0, teacher * 0)):
        assert (np.asarray(rank_agreement(first, second)) == 1).all()
    # What the student alone leaves open counts half.
    np.testing.assert_allclose(rank_agreement(teacher, teacher * 0), 0.5, atol=1e-6)


def test_a_single_pair_has_nothing_to_be_compared_with(logits):
    with pytest.raises(ValueError, match="top_n must be at least 3"):
        rank_agreement(*logits, top_n=2)


def test_kept_are_the_valid_pixels_that_reach_the_threshold(logits):
    valid = np.ones((2, 4, 5), bool)
    valid[1, :, 3:] = False
    probabilities = np.asarray(jax.nn.softmax(logits[0, :2]))
    confidence = probabilities.max(-1)
    threshold = float(np.median(confidence))
    seen = method_view(*map(jnp.asarray, logits), valid, threshold=threshold, top_n=4)
    np.testing.assert_allclose(seen.confidence, confidence, rtol=1e-6)
    np.testing.assert_array_equal(seen.kept, (seen.confidence >= threshold) & valid)
    # Far from the threshold rounding decides nothing.
    clear = np.abs(confidence - threshold) > 1e-5
    np.testing.assert_array_equal(seen.kept[clear], ((confidence > threshold) & valid)[clear])
    assert 0 < seen.kept.sum() < valid.sum()
    np.testing.assert_array_equal(seen.labels, logits[0, :2].argmax(-1))
    np.testing.assert_array_equal(seen.student_labels, logits[1, :2].argmax(-1))
    assert seen.agreement.shape == valid.shape


@pytest.mark.parametrize(("classes", "top_n", "players"), [(2, 4, None), (3, 4, 3), (6, 2, None)])
def test_players_are_as_many_as_the_classes_allow(logits, classes, top_n, players):
    both = [jnp.asarray(part[..., :classes]) for part in logits]
    seen = method_view(*both, np.ones((3, 4, 5), bool), threshold=0.5, top_n=top_n)
    if players is None:
        assert seen.agreement is None
    else:
        np.testing.assert_allclose(seen.agreement, rank_agreement(*both, top_n=players))
