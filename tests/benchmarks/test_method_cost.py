"""The configurations whose steps `benchmarks/method_cost.py` measures, and PrevMatch's state."""

import pytest

from rcc_jax import build
from rcc_jax.methods import METHODS


def test_every_method_with_a_step_of_its_own_can_be_measured(script):
    method_cost = script("method_cost")
    assert set(METHODS) - set(method_cost.MEASURED) == {"st", "stpp"}
    for name in method_cost.MEASURED:
        build.check(method_cost.configured("configs/msrc.py:20", name, "float32"))


@pytest.mark.slow
def test_a_step_of_prevmatch_is_labelled_by_snapshots(script):
    method_cost, steps = script("method_cost"), script("steps")
    config = method_cost.configured("configs/demo.py", "prevmatch", "float32")
    small = {"data.crop_size": 33, "model.width": 4, "model.decoder_channels": 8}
    config.update_from_flattened_dict({**small, "method.snapshots": 2})
    config.method.snapshot_threshold = 0.0
    setup = method_cost.Setup(config)
    terms = steps.Step(setup, setup.run.method).terms
    assert terms["snapshots"] == 2
    assert terms["loss_previous"] > 0
