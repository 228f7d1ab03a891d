"""Options that most methods take, shown for each: the consensus term and soft labels."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.methods import METHODS
from rcc_jax.methods.base import Clock
from rcc_jax.methods.with_consensus import NONE
from rcc_jax.options import options
from rcc_jax.training import train_step
from tests.support.steps import Setup, make_batch, make_method

WEIGHT = 0.5
# The middle of a run of four epochs: no warm-up, and the ramp of PrevMatch is at its top.
CLOCK = Clock(jnp.asarray(10), 5, 20)
# What the term and its weight lambda are multiplied by in the method's loss.
FACTORS = {
    "cutmix_seg": 1,
    "cps": 1,
    "fixmatch": 1 / 2,
    "class_balanced": 1,
    "u2pl": 1,
    "co_training": 1 / 2,
    "augseg": 1,
    # The weight of the unlabelled images.
    "imas": 3,
    "unimatch": 1 / 2,
    "daw": 1 / 2,
    "dual_teacher": 1,
    "corrmatch": 1 / 2,
    # 1 / (2 + r) with r = 1.
    "prevmatch": 1 / 3,
    "unimatch_u2pl": 1 / 2,
    "unimatch_v2": 1 / 2,
}
# The others are in the slow suite: one of each kind of factor is enough to notice a change.
FAST = {"cps", "imas", "unimatch_v2"}
FEWER = {"corrmatch": {"regions": 2}, "prevmatch": {"snapshots": 2}}


def each_of(names):
    """Parameters of a test; most are marked as slow."""
    return [pytest.param(x, marks=[pytest.mark.slow] * (x not in FAST)) for x in names]


def losses_of(method, *others):
    """Loss and terms of a batch for variants of a method, in one program without gradients."""
    made = Setup(method, dtype=jnp.float64)

    @jax.jit
    def run(state, batch):
        # As after an epoch, so that PrevMatch has a snapshot.
        if method.name == "prevmatch":
            end = CLOCK._replace(step=jnp.asarray(4))
            state = state.replace(memory=method.update(state.memory, (), state.weights, end))
        found = [
            train_step.gradients_of(
                made.network,
                each,
                state,
                batch,
                counts=each.counts(batch),
                parts=1,
                clock=CLOCK,
                key=jax.random.key(0),
            )[0]
            for each in (method, *others)
        ]
        return [(each.loss, each.terms) for each in found]

    return jax.device_get(run(made.state(), jax.tree.map(jnp.asarray, make_batch(method, rows=3))))


def test_factors_are_of_the_methods_that_take_a_consensus_term():
    choices = {
        name: options(method)["consensus"].choices
        for name, method in METHODS.items()
        if "consensus" in options(method)
    }
    assert {name for name, each in choices.items() if NONE in each} == set(FACTORS)


@pytest.mark.parametrize("name", each_of(FACTORS))
def test_a_consensus_term_adds_its_weighted_value(name):
    with jax.enable_x64(True):
        method = make_method(
            name, consensus="l2", top_n=3, consensus_weight=WEIGHT, **FEWER.get(name, {})
        )
        without = dataclasses.replace(method, consensus=NONE)
        (loss, terms), (plain, others) = losses_of(method, without)
    found = {term for term in terms if term.startswith("loss_consensus")}
    assert found == set(terms) - set(others)
    assert all(terms[term] > 0 for term in found)
    expected = plain + FACTORS[name] * WEIGHT * sum(terms[term] for term in found)
    np.testing.assert_allclose(loss, expected, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if "pseudo_labels" in options(method)]
)
def test_a_step_on_soft_labels_is_finite_and_differs_from_one_on_hard_labels(name):
    changes = FEWER.get(name, {})
    found = {}
    for kind in ("hard", "soft"):
        made = Setup(make_method(name, pseudo_labels=kind, **changes), steps_per_epoch=1)
        # The second step is behind a warm-up, and PrevMatch has a snapshot.
        state, log = made.run(2)
        assert all(np.isfinite(value) for line in log for value in line.values())
        found[kind] = jax.tree.leaves(state.weights.params), log[-1]["loss"]
    assert found["hard"][1] != found["soft"][1]
    assert any(np.any(a != b) for a, b in zip(found["hard"][0], found["soft"][0], strict=True))
