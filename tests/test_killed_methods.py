"""Runs of the methods that keep weights or statistics: killed and resumed, they are undisturbed."""

import pytest

from tests.support.commands import finish, start
from tests.support.runs import different, metrics, reached, saving, tiny_run, wait_until

# Fields with which a run of 12 steps uses the memory; an epoch has three steps.
FIELDS = {
    "corrmatch": {"method__regions": 8},
    "dual_teacher": {},
    "prevmatch": {"method__snapshots": 2, "method__snapshot_threshold": 0.16},
}
# What the log of such a run shows.
USED = {
    "corrmatch": lambda log: len({line["threshold"] for line in log}) == len(log),
    "dual_teacher": lambda log: log[-1]["loss_mixed"] > 0 and log[-1]["loss_unmixed"] > 0,
    "prevmatch": lambda log: log[-1]["snapshots"] == 2 and log[-1]["loss_previous"] > 0,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELDS)
def test_a_killed_run_ends_as_an_uninterrupted_one(name, tmp_path):
    def command(workdir):
        fields = {"method__name": name, "data__unlabeled": "1000:1006", **FIELDS[name]}
        return tiny_run("auto", workdir, **fields)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(*command(whole)))
    # After the middle of an epoch, and in a save.
    for condition in (lambda: reached(killed, 8), lambda: saving(killed, 9)):
        process = start(*command(killed))
        wait_until(process, condition)
        process.kill()
        process.communicate()
    finish(start(*command(killed)))
    assert not different(killed, whole)
    logged = [line for line in metrics(whole) if "loss" in line]
    assert USED[name](logged)
