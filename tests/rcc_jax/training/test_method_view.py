"""Kept pixels, against the probabilities, and the number of players of the agreement."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.consensus.agreement import rank_agreement
from rcc_jax.training.method_view import method_view


@pytest.fixture(scope="module")
def logits():
    """Teacher and student, [3, 4, 5, K]; the last row is padding of a batch."""
    return np.random.default_rng(0).normal(0, 3, (2, 3, 4, 5, 6)).astype(np.float32)


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
