"""The competitors as whole runs and steps: killed is uninterrupted, one device is eight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.commands import finish, start
from tests.support.runs import different, metrics, reached, saving, tiny_run, wait_until
from tests.support.steps import Setup, make_method

# The changed fields of each; daw and augseg with a consensus term of their own.
METHODS = {
    "mean_teacher": {},
    "cutmix_seg": {},
    "fixmatch": {"pseudo_labels": "soft"},
    "augseg": {"consensus": "rank"},
    "imas": {},
    "daw": {"consensus": "rank"},
    "unimatch_v2": {},
}
# Terms that show that a run of 12 steps uses what is special in a method.
USED = {
    "mean_teacher": "loss_consistency",
    "cutmix_seg": "loss_consistency",
    "fixmatch": "loss_strong1",
    "augseg": "loss_consensus",
    "imas": "hardness",
    "daw": "threshold",
    "unimatch_v2": "loss_strong2",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_killed_run_ends_as_an_uninterrupted_one(name, tmp_path):
    # An epoch has four steps: the EMA teacher of augseg and imas is a copy in the first alone.
    fields = {"name": name, "confidence_threshold": 0.16, **METHODS[name]}
    if name == "mean_teacher" or "pseudo_labels" in fields:
        fields["confidence_threshold"] = None  # They have none.

    def command(workdir):
        changed = {f"method__{field}": value for field, value in fields.items()}
        return tiny_run("auto", workdir, data__unlabeled="1000:1008", **changed)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(*command(whole)))
    # After a log line within an epoch, and while a checkpoint is being written.
    for condition in (lambda: reached(killed, 4), lambda: saving(killed, 9)):
        process = start(*command(killed))
        wait_until(process, condition)
        process.kill()
        process.communicate()
    finish(start(*command(killed)))
    assert not different(killed, whole)
    values = [line[USED[name]] for line in metrics(whole) if "loss" in line]
    assert all(value > 0 for value in values)
    # While the teacher is a copy of the student, the hardness of imas is 1.
    assert len(set(values)) > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_eight_devices_do_the_steps_of_one(name):
    with jax.enable_x64(True):
        method = make_method(name, **METHODS[name])
        one, eight = (Setup(method, devices, jnp.float64).run(3) for devices in (1, 8))
    for found, expected in zip(eight[1], one[1], strict=True):
        assert found.keys() == expected.keys()
        for term, value in expected.items():
            np.testing.assert_allclose(found[term], value, rtol=1e-9, err_msg=term)
    for part in ("weights", "ema", "opt_state", "memory"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11),
            getattr(eight[0], part),
            getattr(one[0], part),
        )
