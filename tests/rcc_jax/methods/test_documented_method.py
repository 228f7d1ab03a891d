"""The method that docs/extending.md writes trains, and is what the page says."""

import dataclasses
import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.methods.fixmatch import FixMatch
from rcc_jax.methods.passes import Logits, Targets, count_pixels
from tests.support.commands import REPOSITORY
from tests.support.plain import loss_of
from tests.support.steps import Setup, make_batch


@pytest.fixture(scope="module")
def weighted():
    """The class, as a reader would type it."""
    names, page = {}, (REPOSITORY / "docs" / "extending.md").read_text()
    section = page[page.index("## A method") : page.index("Once it is in `METHODS`")]
    for example in doctest.DocTestParser().get_examples(section):
        exec(example.source, names)
    return names["Weighted"]


@pytest.mark.usefixtures("in_float64")
def test_power_0_is_fixmatch_and_a_higher_power_counts_less(weighted):
    losses = [weighted(confidence_threshold=0.3, power=power) for power in (0.0, 1.0, 4.0)]
    losses.insert(0, FixMatch(confidence_threshold=0.3))
    batch = make_batch(losses[0])
    found = [loss_of(method, batch).terms["loss_strong1"] for method in losses]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)
    assert found[1] > found[2] > found[3] > 0


def test_the_confidence_has_no_gradient(weighted):
    method = weighted(confidence_threshold=0.3)
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.standard_normal((2, 4, 4, *shape)), jnp.float32)

    pixels = jnp.ones((2, 4, 4), bool)
    targets = Targets(pixels.astype(int), pixels, pixels, pasted=(draw() > 0,))
    logits = Logits(draw(3), strong=(draw(3),), weak=draw(3), partner=draw(3))

    def loss(weak, strong):
        own = dataclasses.replace(logits, weak=weak, strong=(strong,))
        return method.sum_terms(own, targets, count_pixels(targets))[0]

    of_weak, of_strong = jax.jit(jax.grad(loss, (0, 1)))(logits.weak, logits.strong[0])
    assert not of_weak.any()
    assert of_strong.any()


def test_a_step_logs_its_terms(weighted):
    method = weighted(confidence_threshold=0.3, power=2.0)
    _, log = Setup(method).run(2)
    assert set(method.terms) <= set(log[-1])
    assert np.isfinite(log[-1]["loss"])
