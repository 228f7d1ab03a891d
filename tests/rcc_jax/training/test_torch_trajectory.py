"""Losses, running statistics and evaluation of three steps are those of PyTorch."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rcc_jax.models.torch_names import from_torch_layout, named_variables, to_torch_layout
from rcc_jax.training import train_state, train_step
from rcc_jax.training.train_state import Weights
from tests.support import torch_trajectory
from tests.support.steps import Setup


def initial_weights(setup: Setup) -> Weights:
    graphdef, state = nnx.split(nnx.eval_shape(lambda: setup.build(jax.random.key(0))))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), nnx.to_pure_dict(state))
    model = nnx.merge(graphdef, zeros)
    drawn = torch_trajectory.initial_state()
    for name, variable in named_variables(model).items():
        variable.set_value(jnp.asarray(from_torch_layout(drawn[name])))
    _, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return Weights(nnx.to_pure_dict(params), nnx.to_pure_dict(stats))


def our_trajectory() -> list[dict]:
    method = torch_trajectory.METHOD
    build = functools.partial(torch_trajectory.build, dtype=jnp.float64)
    setup = Setup(method, 1, jnp.float64, build=build, num_steps=torch_trajectory.SCHEDULED_STEPS)
    state = train_state.create(
        initial_weights(setup),
        setup.optimizer,
        jax.random.key(1),
        ema=False,
        term_names=train_step.watched_terms(method),
    )
    predict, found = jax.jit(setup.network.predict), []
    for step in range(torch_trajectory.STEPS):
        batch = torch_trajectory.batch(step)
        state, scalars = setup.step(state, batch)
        model = nnx.merge(setup.network.graphdef, state.weights.params, state.weights.stats)
        values = {
            name: to_torch_layout(np.asarray(variable[...]))
            for name, variable in named_variables(model).items()
        }
        logits = np.asarray(predict(state.weights, batch["labeled"]["image"]))
        found.append(
            {
                "loss": float(scalars["loss"]),
                **torch_trajectory.statistics(values),
                **torch_trajectory.summary(logits.transpose(0, 3, 1, 2)),
            }
        )
    return found


def assert_near(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected) == torch_trajectory.STEPS
    for step, (ours, theirs) in enumerate(zip(found, expected, strict=True), 1):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            np.testing.assert_allclose(
                ours[name], theirs[name], rtol=1e-5, err_msg=f"{name} of step {step}"
            )


pytestmark = pytest.mark.slow  # Most of a minute, to compile the real network in float64.


@pytest.fixture(scope="module")
def ours():
    with jax.enable_x64(True):
        return our_trajectory()


def test_three_steps_are_the_recorded_ones_of_pytorch(ours):
    assert_near(ours, json.loads(torch_trajectory.RECORD.read_text())["steps"])


def test_pytorch_still_gives_the_record():
    pytest.importorskip("torch", reason="optional: PyTorch is not installed")
    record = json.loads(torch_trajectory.RECORD.read_text())["steps"]
    assert_near(torch_trajectory.torch_trajectory(), record)
