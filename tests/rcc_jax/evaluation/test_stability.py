"""The stability of predictions against its definition, written with sets of pixels."""

import numpy as np
import pytest

from rcc_jax.evaluation.stability import mean_iou, ranked, stability


def plain_mean_iou(one, other):
    """By the definition, class by class."""
    found = []
    for label in set(one.ravel().tolist()) | set(other.ravel().tolist()):
        first = {place for place in np.ndindex(one.shape) if one[place] == label}
        second = {place for place in np.ndindex(one.shape) if other[place] == label}
        found.append(len(first & second) / len(first | second))
    return sum(found) / len(found)


def test_by_hand():
    last, copy = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 1, 1, 1]], np.uint8)
    assert stability([copy], last, 2) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert stability([copy, last], last, 2) == pytest.approx(0.7917, abs=5e-5)
    # A class that occurs in neither map is left out.
    assert stability([copy], last, 250) == stability([copy], last, 2)


def test_random_maps():
    rng = np.random.default_rng(0)
    for num_classes in (2, 5, 255):
        maps = rng.integers(0, min(num_classes, 7), (3, 6, 5)).astype(np.uint8)
        maps[maps == 6] = num_classes - 1
        expected = [plain_mean_iou(each, maps[2]) for each in maps[:2]]
        for each, value in zip(maps, expected, strict=False):
            assert mean_iou(each, maps[2], num_classes) == pytest.approx(value)
        assert stability(maps[:2], maps[2], num_classes) == pytest.approx(np.mean(expected))


def test_equal_scores_stay_in_order():
    scores = {"a": 0.5, "b": 0.9, "c": 0.5, "d": 0.9}
    assert ranked(scores, "abcd") == ["b", "d", "a", "c"]
    assert ranked(scores, "dcba") == ["d", "b", "c", "a"]
