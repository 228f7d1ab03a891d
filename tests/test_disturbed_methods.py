"""Methods as whole runs and steps: killed is uninterrupted, one device is eight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.commands import REPOSITORY, finish, start_afresh
from tests.support.runs import different, kill, metrics, reached, saving, tiny_run, wait_until
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
# Their own tests compare devices; snapshots, turns and the end of a warm-up need short epochs.
WITH_MEMORY = {
    "class_balanced": {},
    "u2pl": {"queue_size": 50},
    "unimatch_u2pl": {"queue_size": 50},
    "corrmatch": {"regions": 8},
    "dual_teacher": {},
    "prevmatch": {"snapshots": 2, "snapshot_threshold": 0.16},
}
THRESHOLD = {"confidence_threshold": 0.16}
WITHOUT_THRESHOLD = {"mean_teacher", "u2pl"}


def changing(term):
    """Whether a term is positive and not always the same, in spite of a copied teacher at first."""

    def used(log):
        values = [line[term] for line in log]
        return min(values) > 0 and len(set(values)) > 3

    return used


# What the log of a run of 12 steps shows if it uses what is special in the method.
USED = {
    "mean_teacher": changing("loss_consistency"),
    "cutmix_seg": changing("loss_consistency"),
    "fixmatch": changing("loss_strong1"),
    "augseg": changing("loss_consensus"),
    "imas": changing("loss_mixed"),
    "daw": changing("threshold"),
    "unimatch_v2": changing("loss_strong2"),
    "class_balanced": changing("loss_repeated"),
    # In a batch of two images, a class may lack negatives or sure pixels.
    "u2pl": lambda log: any(line["loss_contrast"] for line in log) and log[-1]["loss_strong1"] > 0,
    "unimatch_u2pl": lambda log: any(line["loss_contrast"] for line in log),
    "corrmatch": lambda log: len({line["threshold"] for line in log}) == len(log),
    "dual_teacher": lambda log: log[-1]["loss_mixed"] > 0 and log[-1]["loss_unmixed"] > 0,
    "prevmatch": lambda log: log[-1]["snapshots"] == 2 and log[-1]["loss_previous"] > 0,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", USED)
def test_a_killed_run_ends_as_an_uninterrupted_one(name, tmp_path):
    fields = {"name": name, **THRESHOLD, **METHODS.get(name, {}), **WITH_MEMORY.get(name, {})}
    if name in WITHOUT_THRESHOLD or "pseudo_labels" in fields:
        fields["confidence_threshold"] = None
    # Epochs of three or four steps.
    images = "1000:1006" if name in WITH_MEMORY else "1000:1008"

    def command(workdir):
        changed = {f"method__{field}": value for field, value in fields.items()}
        return tiny_run("auto", workdir, data__unlabeled=images, **changed)

    log = undisturbed_and_killed(command, tmp_path)
    assert USED[name](log)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"method__name": "cps"},
        {"method__name": "co_training", "method__second_backbone": "resnet34"},
    ],
    ids=["cps", "co_training"],
)
def test_a_killed_run_of_two_networks_ends_as_an_uninterrupted_one(fields, tmp_path):
    log = undisturbed_and_killed(lambda workdir: tiny_run("auto", workdir, **fields), tmp_path)
    assert all(log[-1][f"loss_strong1{name}"] > 0 for name in ("", "_second"))


@pytest.mark.slow
def test_a_killed_run_of_a_method_of_the_user_ends_as_an_uninterrupted_one(tmp_path):
    """The toy method, whose head, memory and ramp use every part of the contract."""
    config = REPOSITORY / "tests" / "support" / "toy_config.py"

    def command(workdir):
        return tiny_run("auto", workdir, f"--config={config}", method__name="toy")

    log = undisturbed_and_killed(command, tmp_path)
    pulls = [line["loss_pull"] for line in log]
    assert min(pulls) > 0
    assert len(set(pulls)) > 3


def undisturbed_and_killed(command, folder):
    """Compares a run with one that was killed twice; returns what the first has logged."""
    whole, killed = folder / "whole", folder / "killed"
    finish(start_afresh(*command(whole)))
    # After a log line within an epoch, and while a checkpoint is being written.
    for condition in (lambda: reached(killed, 4), lambda: saving(killed, 9)):
        process = start_afresh(*command(killed))
        wait_until(process, condition)
        kill(process)
    output, _ = finish(start_afresh(*command(killed)))
    assert "resuming after step" in output
    assert not different(killed, whole)
    return [line for line in metrics(whole) if "loss" in line]


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
