"""Regression guards: a recorded trajectory, and a short run whose mIoU lies in a recorded band.

What they notice is shown by `tests/guards/planted_bugs.py`; a change that is meant to change the
numbers records them anew with `python -m tests.guards.record`.
"""

import statistics

import jax
import pytest

from tests.guards import planted_bugs, run, trajectory

# A step with negatives takes two seconds without the compiler's optimisations.
# What these compute is in the trajectories of "rcc" and "u2pl", too.
CONTAINED = ("supervised", "fixmatch", "unimatch", "unimatch_u2pl, released")
QUICK = [(name, 3 if "u2pl" in name else 5) for name in trajectory.METHODS if name not in CONTAINED]
WHOLE = [pytest.param(name, 30, marks=pytest.mark.slow) for name in trajectory.METHODS]


@pytest.mark.parametrize(("name", "steps"), [*QUICK, *WHOLE])
def test_losses_are_the_recorded_ones(name, steps):
    with jax.enable_x64(True):
        found = trajectory.trajectory(name, steps)
    assert trajectory.deviation(found, name) <= trajectory.TOLERANCE


@pytest.mark.slow
def test_miou_of_a_short_run_lies_in_its_band(tmp_path):
    run.draw(tmp_path / "data")
    found = [run.train(tmp_path / "data", tmp_path / f"run{seed}", seed) for seed in run.TESTED]
    assert abs(run.in_deviations(statistics.median(found))) <= run.WIDTH, f"mIoU {found}"


@pytest.mark.slow
@pytest.mark.parametrize("bug", planted_bugs.METHOD_BUGS)
def test_the_trajectory_of_a_method_tells_its_bug(bug):
    name, _ = planted_bugs.METHOD_BUGS[bug]
    with jax.enable_x64(True), planted_bugs.planted(bug):
        found = trajectory.trajectory(name, steps=3)
    assert trajectory.deviation(found, name) > trajectory.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("bug", planted_bugs.BUGS)
def test_the_trajectory_tells_planted_bugs(bug):
    with jax.enable_x64(True), planted_bugs.planted(bug):
        found = trajectory.trajectory("rcc", steps=3)
    differs = trajectory.deviation(found, "rcc") > trajectory.TOLERANCE
    assert differs == (bug != "none")
