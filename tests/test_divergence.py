"""Runs whose loss is not finite: where they stop, and what they keep."""

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.support.commands import finish, start
from tests.support.runs import leaves, metrics, saved_state, tiny_run


@pytest.fixture
def diverging(tmp_path):
    """The flags of a run whose second step is not finite."""
    return tiny_run(
        "auto",
        tmp_path,
        method__name="supervised",
        method__confidence_threshold=None,
        optimizer__learning_rate=1e30,
        checkpoint__every_steps=1,
    )


def test_divergence_stops_the_run_and_is_not_among_the_checkpoints(diverging, tmp_path):
    _, errors = finish(start(*diverging), 1)
    assert errors.startswith("error: step 2 is not finite: ")
    assert "loss_labeled = nan" in errors
    assert "Traceback" not in errors
    steps = [int(path.name) for path in (tmp_path / "checkpoints").iterdir()]
    assert steps == [1]
    weights = saved_state(tmp_path, 1)["weights"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights))
    weights = leaves(weights)
    # For inspection: the state that made the bad step.
    assert f"The state before it is in {tmp_path}/nonfinite/1." in errors
    with ocp.StandardCheckpointer() as checkpointer:
        kept = checkpointer.restore(tmp_path / "nonfinite" / "1" / "state")
    assert leaves(kept["weights"]) == weights
    assert int(kept["bad_step"]) == 2


@pytest.mark.slow
def test_skipped_steps_are_counted_and_end_the_run(diverging, tmp_path):
    """Without updates nothing gets better; five steps are tried."""
    flags = ("--config.train.on_nonfinite=skip", "--config.checkpoint.keep=6")
    output, errors = finish(start(*diverging, *flags), 1)
    assert "skipped because they were not finite: 1 so far; the last: gradient_norm = " in output
    assert errors.startswith("error: step 7 is not finite: ")
    assert "The 5 before it were not finite either and were skipped." in errors
    weights = [saved_state(tmp_path, step)["weights"] for step in (1, 6)]
    assert leaves(weights[0]) == leaves(weights[1])
    assert [line["skipped_steps"] for line in metrics(tmp_path)[:2]] == [1, 3]
