"""Corrupt, missing and half-written checkpoints."""

import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from rcc_jax.errors import ConfigError
from rcc_jax.workdir.checkpoints import Checkpoints, SaveError
from tests.support.small_state import abstract, assert_equal, make_state, steps_on_disk


def lose(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def largest(folder):
    """The file with the arrays, in which orbax does not detect a flipped bit."""
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


DAMAGE = {
    "no_state": (lambda folder: lose(folder / "state"), "cannot be read"),
    "no_metadata": (lambda folder: lose(folder / "state/_METADATA"), "_METADATA cannot be read"),
    "no_checksums": (lambda folder: lose(folder / "SHA256SUMS"), "SHA256SUMS cannot be read"),
    "cut_checksums": (lambda folder: cut(folder / "SHA256SUMS"), "SHA256SUMS is truncated"),
    "cut_arrays": (lambda folder: cut(largest(folder)), "has changed since it was written"),
    "flipped_arrays": (lambda folder: flip(largest(folder)), "has changed since it was written"),
    "flipped_score": (
        lambda folder: flip(folder / "metrics/metrics"),
        "metrics/metrics has changed",
    ),
}


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, make_state(step), metric=10.0 * step)
    return folder


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_corrupt_checkpoint_gives_way_to_the_newest_intact_one(tmp_path, two_steps, damage):
    spoil, fault = DAMAGE[damage]
    folder = shutil.copytree(two_steps, tmp_path / "run")
    spoil(folder / "2")
    # An evaluation changes nothing, so it only reports the fault.
    with (
        pytest.raises(ConfigError, match=f"{folder}/2: corrupt.*{fault}.*resume from step 1"),
        Checkpoints(folder, read_only=True) as checkpoints,
    ):
        checkpoints.restore(abstract(make_state(0)))
    with Checkpoints(folder) as checkpoints:
        (line,) = checkpoints.set_aside
        assert line.startswith("checkpoint 2 is corrupt and no longer used (")
        assert fault in line
        assert (checkpoints.latest_step, checkpoints.best_score) == (1, 10.0)
        assert_equal(checkpoints.restore(abstract(make_state(0))), make_state(1))
        checkpoints.save(2, make_state(2))
    assert steps_on_disk(folder) == {1, 2}
    with Checkpoints(folder) as checkpoints:
        assert not checkpoints.set_aside


def test_the_only_checkpoint_is_not_set_aside(tmp_path, two_steps):
    folder = shutil.copytree(two_steps, tmp_path / "run")
    for step in (1, 2):
        flip(largest(folder / str(step)))
    with (
        Checkpoints(folder) as checkpoints,
        pytest.raises(ConfigError, match="2: corrupt"),
    ):
        checkpoints.restore(abstract(make_state(0)))
    assert steps_on_disk(folder) == {1, 2}


def test_checksums_are_those_of_sha256sum(two_steps):
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(command, cwd=two_steps / "1", check=True)
    listed = (two_steps / "1" / "SHA256SUMS").read_text()
    assert {"state/_METADATA", "metrics/metrics"} <= {x[66:] for x in listed.splitlines()}


# Orbax leaves the futures of a failed save to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_save_that_fails_names_the_checkpoint_and_leaves_the_others(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(1), wait=True)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (256, hard))
        try:
            with pytest.raises(SaveError, match=f"{tmp_path}/2: .*resumes from step 1"):
                checkpoints.save(2, make_state(2), wait=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    with Checkpoints(tmp_path) as checkpoints:
        assert_equal(checkpoints.restore(abstract(make_state(0))), make_state(1))
        checkpoints.save(2, make_state(2))
    assert steps_on_disk(tmp_path) == {1, 2}


SAVE_FOREVER = textwrap.dedent("""
    import sys
    import jax, jax.numpy as jnp, numpy as np
    from rcc_jax.workdir.checkpoints import Checkpoints

    checkpoints = Checkpoints(sys.argv[1], keep=1)
    first = 0
    if checkpoints.latest_step is not None:
        zeros = jax.eval_shape(lambda: [jnp.zeros((300, 300))] * 8)
        one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one) for x in zeros]
        leaves = checkpoints.restore(shapes)
        assert all((np.asarray(leaf) == checkpoints.latest_step).all() for leaf in leaves)
        first = checkpoints.latest_step
    print("restored", first, flush=True)
    for step in range(first, 10**6):
        # The first save of a start replaces the step that was restored.
        checkpoints.save(step, [jnp.full((300, 300), float(step))] * 8, metric=step % 7)
        print(step, flush=True)
""")


def test_killed_at_any_moment_the_latest_is_whole(tmp_path):
    """After SIGKILL in a loop of saves, each start restores what the previous one wrote."""
    moments, restored = random.Random(0), []
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            lines = [process.stdout.readline() for _ in range(moments.randint(3, 9))]
            time.sleep(moments.uniform(0.0, 0.05))
            process.send_signal(signal.SIGKILL)
            assert lines[-1], process.stderr.read()
        restored.append(int(lines[0].removeprefix("restored ")))
    # Each start completed at least one save before it was killed.
    assert restored == sorted(restored)
    assert restored[-1] > 0
