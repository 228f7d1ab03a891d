"""The laws of AugSeg's and iMAS's operations."""

import collections

import numpy as np
import pytest

from input_pipeline.batches import photometric
from input_pipeline.batches.random_operations import AUGSEG, IMAS

VIEWS = 6000
AUGSEGS = {
    *("identity", "autocontrast", "equalize", "blur", "contrast", "brightness", "color"),
    *("sharpness", "posterize", "solarize", "hue"),
}
FACTORS = ("contrast", "brightness", "color", "sharpness")


def draw(recipe) -> tuple[list[list[str]], dict[str, np.ndarray]]:
    """The names of the operations of many views, and the amounts by name."""
    rng = np.random.default_rng(0)
    names, amounts = [], collections.defaultdict(list)
    for _ in range(VIEWS):
        drawn = recipe.draw(rng)
        names.append([operation.__name__ for operation, _ in drawn])
        for operation, amount in drawn:
            amounts[operation.__name__] += amount
    return names, {name: np.array(values) for name, values in amounts.items()}


@pytest.fixture(scope="module")
def augseg():
    return draw(AUGSEG)


@pytest.fixture(scope="module")
def imas():
    return draw(IMAS)


def test_augseg_draws_one_to_three_of_eleven_operations(augseg):
    names, _ = augseg
    counts = np.bincount([len(view) for view in names], minlength=4) / VIEWS
    np.testing.assert_allclose(counts, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.02)
    frequencies = collections.Counter(sum(names, []))
    total = sum(frequencies.values())
    assert total / VIEWS == pytest.approx(2, abs=0.03)
    assert set(frequencies) == AUGSEGS
    for count in frequencies.values():
        assert count / total == pytest.approx(1 / 11, abs=0.01)


def test_imas_draws_two_of_twelve_operations(imas):
    names, _ = imas
    assert {len(view) for view in names} == {2}
    frequencies = collections.Counter(sum(names, []))
    assert set(frequencies) == AUGSEGS | {"invert"}
    for count in frequencies.values():
        assert count / (2 * VIEWS) == pytest.approx(1 / 12, abs=0.01)


@pytest.mark.parametrize("recipe", ["augseg", "imas"])
def test_operations_are_drawn_with_replacement_in_any_order(recipe, request):
    names, _ = request.getfixturevalue(recipe)
    pairs = collections.Counter(tuple(view) for view in names if len(view) == 2)
    count = 11 if recipe == "augseg" else 12
    assert len(pairs) == count**2
    twice = sum(pairs[pair] for pair in pairs if pair[0] == pair[1])
    assert twice / sum(pairs.values()) == pytest.approx(1 / count, abs=0.02)


@pytest.mark.parametrize(("recipe", "low"), [("augseg", 0.05), ("imas", 0.95 - 0.999 * 0.85)])
def test_factors_are_uniform_and_only_weaken(recipe, low, request):
    _, amounts = request.getfixturevalue(recipe)
    for name in FACTORS:
        drawn = amounts[name]
        assert low <= drawn.min() < low + 0.01
        assert 0.94 < drawn.max() < 0.95
        np.testing.assert_allclose(
            np.quantile(drawn, [0.25, 0.5, 0.75]),
            low + (0.95 - low) * np.arange(1, 4) / 4,
            atol=0.05,
        )


@pytest.mark.parametrize(("recipe", "strength"), [("augseg", 1), ("imas", 0.999)])
def test_other_amounts_have_the_ranges_of_the_code(recipe, strength, request):
    _, amounts = request.getfixturevalue(recipe)
    sigma, turn = amounts["blur"], amounts["hue"]
    assert 0.1 <= sigma.min() < 0.12
    assert 1.97 < sigma.max() < 0.1 + 1.9 * strength
    assert sigma.mean() == pytest.approx(1.05, abs=0.05)
    assert 0.49 < np.abs(turn).max() < 0.5 * strength
    assert (turn < 0).mean() == pytest.approx(0.5, abs=0.05)
    assert np.abs(turn).mean() == pytest.approx(0.25, abs=0.02)
    bits = np.bincount(amounts["posterize"].astype(int), minlength=9) / len(amounts["posterize"])
    np.testing.assert_allclose(bits, [0, 0, 0, 0, 0.25, 0.25, 0.25, 0.25, 0], atol=0.05)
    threshold = amounts["solarize"]
    assert 1 <= threshold.min() < 5
    assert 251 < threshold.max() <= 255
    assert threshold.mean() == pytest.approx(128, abs=7)


@pytest.mark.parametrize("recipe", ["augseg", "imas"])
def test_a_seed_gives_one_view(recipe):
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    image.setflags(write=False)
    views = [
        photometric.strong_view(image, np.random.default_rng(seed), recipe).tobytes()
        for seed in (*range(40), *range(40))
    ]
    assert views[:40] == views[40:]
    # Identities leave the image, and a few operations may do the same to it.
    assert len(set(views)) > 30


def test_none_is_the_weak_view_and_draws_nothing():
    rng = np.random.default_rng(0)
    image = np.zeros((4, 5, 3), np.uint8)
    assert photometric.strong_view(image, rng, "none") is image
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state
