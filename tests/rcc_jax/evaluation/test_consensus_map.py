"""Sums of the consensus by pair of classes, against a loop over pixels."""

import collections
import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.consensus import class_consensus
from rcc_jax.evaluation.consensus_map import ConsensusMap

NAMES = ("road", "car", "truck", "tree", "sky", "never")


@pytest.fixture(scope="module")
def logits():
    """Teacher and student, [2, 5, 6, K]; the last class is never a player."""
    rng = np.random.default_rng(0)
    both = rng.normal(0, 2, (2, 2, 5, 6, len(NAMES))).astype(np.float32)
    both[..., -1] = -9
    return both


@pytest.mark.parametrize("top_n", [2, 3])
def test_means_and_counts_equal_a_loop_over_pixels(logits, top_n):
    teacher, student = logits
    found = ConsensusMap(NAMES, top_n=top_n)
    images = np.zeros((2, 5, 6, 3), np.uint8)
    found.add(["a", "b"], images, jnp.asarray(teacher), jnp.asarray(student))
    found.add(["c"], images, jnp.asarray(teacher[::-1]), jnp.asarray(student[::-1]))

    seen = collections.defaultdict(list)
    flat = [part[[0, 1, 1]].reshape(-1, len(NAMES)) for part in logits]
    pixels = list(zip(*flat, strict=True))
    players = np.array([np.argsort(-t)[:top_n] for t, _ in pixels])
    values = class_consensus(
        jnp.asarray([[x[p] for x in pixel] for pixel, p in zip(pixels, players, strict=True)])
    )
    for classes, value in zip(players, np.asarray(values), strict=True):
        for index, (a, b) in enumerate(itertools.combinations(range(top_n), 2)):
            seen[frozenset((classes[a], classes[b]))].append(value[:, index])

    assert (found.num_images, found.num_pixels) == (3, 90)
    for u, v in itertools.product(range(len(NAMES)), repeat=2):
        expected = seen.get(frozenset((u, v)), []) if u != v else []
        assert found.counts()[u, v] == len(expected)
        means = np.mean(expected, axis=0) if expected else [np.nan, np.nan]
        got = [found.mean(network)[u, v] for network in ("teacher", "student")]
        np.testing.assert_allclose(got, means, rtol=1e-5, atol=1e-6)
    ordered = found.top_pairs(100)
    assert len(ordered) == 10  # All pairs except those of the class that is never a player.
    means = [found.mean("teacher")[pair] for pair in ordered]
    assert means == sorted(means, reverse=True)
    least = sorted(found.counts()[pair] for pair in ordered)[5]
    frequent = found.top_pairs(100, least_share=least / 90)
    assert frequent == [pair for pair in ordered if found.counts()[pair] >= least]
    assert 0 < len(frequent) < 10


def test_maps_show_the_pair_where_it_plays(logits):
    teacher, student = (part.copy() for part in logits)
    # The first image has one pixel of the pair, the second has eleven.
    teacher[..., [1, 2]] = -20
    teacher[0, 3, 4, [1, 2]] = 5.0, 4.0
    teacher[1, :, :2, [1, 2]] = 5.0
    teacher[1, 0, 5, [1, 2]] = 4.0, 5.0
    images = np.random.default_rng(1).integers(0, 256, (2, 5, 6, 3), np.uint8)
    found = ConsensusMap(NAMES, top_n=3, pair=(2, 1), num_maps=2)
    found.add(["few", "many"], images, jnp.asarray(teacher), jnp.asarray(student))
    many, few = found.maps()
    assert (many.name, many.pixels, few.name, few.pixels) == ("many", 11, "few", 1)
    np.testing.assert_array_equal(few.image, images[0])
    assert few.labels[3, 4] == 1
    assert np.argwhere(np.isfinite(few.teacher)).tolist() == [[3, 4]]
    players = np.argsort(-teacher[0, 3, 4])[:3]
    for got, part in ((few.teacher, teacher), (few.student, student)):
        expected = class_consensus(jnp.asarray(part[0, 3, 4][players]))[0]
        np.testing.assert_allclose(got[3, 4], expected, rtol=1e-5, atol=1e-6)
    one = ConsensusMap(NAMES, top_n=3, pair=(2, 1), num_maps=1)
    one.add(["few", "many"], images, jnp.asarray(teacher), jnp.asarray(student))
    assert [entry.name for entry in one.maps()] == ["many"]
