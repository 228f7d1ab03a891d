"""The views and the numbers of `benchmarks/mechanism.py`."""

import types

import numpy as np
import pytest

from benchmarks import mechanism
from benchmarks import mechanism_numbers as numbers


def test_auc_is_the_share_of_ordered_pairs():
    rng = np.random.default_rng(0)
    score, right = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    pairs = score[right][:, None] - score[~right]
    assert numbers.auc(score, right) == pytest.approx(np.mean((pairs > 0) + (pairs == 0) / 2))
    assert np.isnan(numbers.auc(score, np.ones(60, bool)))


def test_cosines_of_a_gradient_and_of_its_orthogonal_part():
    names = [numbers.TRUTH, numbers.PSEUDO, "other"]
    truth, pseudo, other = np.random.default_rng(1).normal(size=(3, 7))
    vectors = np.stack([truth, pseudo, other])
    found = numbers.cosines([vectors @ vectors.T], names)
    rest = other - (other @ pseudo) / (pseudo @ pseudo) * pseudo

    def cosine(first, second):
        return first @ second / np.linalg.norm(first) / np.linalg.norm(second)

    assert found["other"]["cosine"] == pytest.approx([cosine(other, truth)])
    assert found["other"]["orthogonal"] == pytest.approx([cosine(rest, truth)])
    assert found[numbers.TRUTH]["cosine"] == pytest.approx([1.0])
    assert found[numbers.PSEUDO]["orthogonal"] == []


def test_masks_have_the_geometry_of_the_views():
    # The red channel of an image is its mask.
    label = (
        np.random.default_rng(2).integers(0, 5, (6, 8)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    )
    image = np.stack([50 * label] * 3, axis=-1)
    data = types.SimpleNamespace(crop_size=48)
    run = types.SimpleNamespace(
        partition=types.SimpleNamespace(val=[{"image": image, "label": label}] * 4),
        config=types.SimpleNamespace(data=data, train=types.SimpleNamespace(batch_size=2)),
    )
    found = list(mechanism.batches(run, 2, seed=0))
    assert len(found) == 2
    for batch in found:
        known = batch["label"] != 255
        assert (known == batch["valid"]).all()
        shown = np.round(batch["weak"][..., 0] / 50)
        # Interpolation blurs the edges of the squares.
        assert (shown == batch["label"])[known].mean() > 0.8
        assert not np.array_equal(batch["weak"], batch["strong1"])


def test_predictors_find_what_decides():
    rng = np.random.default_rng(3)
    parts = []
    for _ in range(4):
        signal = rng.normal(size=500)
        right = rng.random(500) < 1 / (1 + np.exp(-3 * signal))
        confidence = np.full(500, 0.5) + rng.normal(size=500) * 0.01
        truth = np.where(right, 1, 2)
        parts.append(
            numbers.Pixels(confidence, np.exp(-signal), np.ones(500), np.ones(500, int), truth)
        )
    found = numbers.predictors(parts, threshold=0.95)
    assert found["ranks, tau 1"]["all"] > 0.8
    assert found["confidence and ranks, tau 1"]["all"] > 0.8
    assert abs(found["confidence"]["all"] - 0.5) < 0.1
    assert found["ranks, tau 0.1"]["all"] == 0.5
    assert found["ranks, tau 1"]["below the threshold"] == found["ranks, tau 1"]["all"]
