"""1 process x 1 device, 1 x 8, 2 x 4 and 4 x 2 train, evaluate and resume alike."""

import collections
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.workdir.checkpoints import Checkpoints
from tests.support import topology
from tests.support.commands import ENVIRONMENT, REPOSITORY, finish, free_port
from tests.support.steps import Setup

# `tests/rcc_jax/training/test_train_step.py` compares one device with eight in the fast suite.
pytestmark = pytest.mark.slow


def in_processes(count, start, other, output, method="unimatch"):
    """The results of `count` processes that share eight devices."""
    port = free_port()
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.topology"),
                *(f"localhost:{port},{index}/{count}", start, other, output, method),
            ],
            cwd=REPOSITORY,
            env={**ENVIRONMENT, "JAX_NUM_CPU_DEVICES": str(8 // count)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]
    for process in started:
        finish(process)
    with np.load(output / "found.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of each topology."""
    root = tmp_path_factory.mktemp("topologies")
    return {name: root / name for name in ("start", "1x1", "1x8", "2x4", "4x2", "again")}


@pytest.fixture(scope="module")
def results(folders):
    """The results of each topology; each resumes from the checkpoint of the one before."""
    found = {}
    single = Setup(topology.OHEM)
    with Checkpoints(folders["start"]) as checkpoints:
        checkpoints.save(32, single.state(), wait=True)
    _, first = topology.run(single, single.state(), range(1))
    with jax.enable_x64(True):
        one, eight = (Setup(topology.METHOD, count, jnp.float64) for count in (1, 8))
        with Checkpoints(folders["start"]) as checkpoints:
            checkpoints.save(0, one.state(), wait=True)
            state, _ = topology.run(one, one.state(), range(topology.MIDDLE))
        with Checkpoints(folders["1x1"]) as checkpoints:
            checkpoints.save(topology.MIDDLE, state, wait=True)
        found["1x8"] = topology.work(eight, folders["start"], folders["1x1"], folders["1x8"], 8)
    found["2x4"] = in_processes(2, folders["start"], folders["1x8"], folders["2x4"])
    with jax.enable_x64(True):
        found["1x1"] = topology.work(one, folders["start"], folders["2x4"], folders["again"], 1)
    found["1x1"]["float32"] = first
    return found


@pytest.fixture
def found(request, results, folders):
    """The results of the topology that the test names."""
    if request.param == "4x2" and "4x2" not in results:
        results["4x2"] = in_processes(4, folders["start"], folders["2x4"], folders["4x2"])
    return results[request.param]


@pytest.mark.parametrize("found", ["1x8", "2x4", "4x2"], indirect=True)
def test_losses_statistics_and_updates_are_those_of_one_device(results, found):
    expected = results["1x1"]
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-8)
    compare(found, expected, "trained")


@pytest.mark.parametrize("found", ["1x1", "1x8", "2x4", "4x2"], indirect=True)
def test_a_checkpoint_of_another_topology_resumes_alike(results, found):
    compare(found, results["1x1"], "resumed")


@pytest.mark.parametrize("found", ["1x8", "2x4", "4x2"], indirect=True)
def test_every_image_is_counted_once(results, found):
    found, expected = found["confusion"], results["1x1"]["confusion"]
    np.testing.assert_array_equal(found.sum(axis=1), expected.sum(axis=1))
    assert np.abs(found - expected).sum() <= 1e-5 * expected.sum()


# What the state holds after four steps if the memory is in use, or the second network trained.
IN_USE = {
    "daw": lambda found: (found["trained['memory']['mean']"] != 0.2).all(),
    "u2pl": lambda found: found["trained['memory'].filled"].max() > 0,
    "prevmatch": lambda found: found["trained['memory']['taken']"] == 2,
    "cps": lambda found: any(
        name.startswith("trained['opt_state']") and "['second']" in name and value.any()
        for name, value in found.items()
    ),
}


@pytest.mark.parametrize("name", IN_USE)
def test_two_processes_have_the_memory_of_one_device(name, tmp_path):
    """What every step reads is of the global batch."""
    with jax.enable_x64(True):
        one = topology.setup_of(name, 1)
        state = one.state()
        with Checkpoints(tmp_path / "start") as checkpoints:
            checkpoints.save(0, state, wait=True)
        state, _ = topology.run(one, state, range(topology.MIDDLE))
        with Checkpoints(tmp_path / "1x1") as checkpoints:
            checkpoints.save(topology.MIDDLE, state, wait=True)
        folders = tmp_path / "start", tmp_path / "1x1"
        expected = topology.work(one, *folders, tmp_path / "again", 1)
    found = in_processes(2, *folders, tmp_path / "2x4", name)
    assert IN_USE[name](expected)
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-8)
    compare(found, expected, "trained")
    compare(found, expected, "resumed")


def test_first_loss_in_float32(results):
    np.testing.assert_allclose(results["2x4"]["float32"], results["1x1"]["float32"], rtol=1e-5)


def compare(found, expected, part):
    """To 1e-8 of the largest value of a kind: parameters, statistics, momenta, averages.

    Numbers of steps, which would count as the largest momentum, have to be equal.
    """
    names = [name.removeprefix("trained") for name in expected if name.startswith("trained")]
    assert len(names) > 10
    largest = collections.defaultdict(float)
    for name in names:
        size = np.abs(expected[f"trained{name}"]).max()
        if not is_count(expected[f"trained{name}"]):
            largest[kind(name)] = max(largest[kind(name)], size)
    for name in names:
        atol = 0 if is_count(expected[f"trained{name}"]) else 1e-8 * largest[kind(name)]
        np.testing.assert_allclose(
            found[part + name], expected[f"trained{name}"], rtol=0, atol=atol, err_msg=name
        )


def is_count(value):
    return np.issubdtype(value.dtype, np.integer)


def kind(name):
    return name.split("]")[0] + ("stats" if ".stats" in name else "")
