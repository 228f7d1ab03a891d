import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from rcc_jax.distributed.meshes import make_mesh, replicated
from rcc_jax.errors import ConfigError
from rcc_jax.workdir import checksums, preservation
from rcc_jax.workdir.checkpoint_paths import restore_path
from rcc_jax.workdir.checkpoints import Checkpoints, SaveError


@flax.struct.dataclass
class State:
    step: jax.Array
    params: dict
    ema: dict | None
    opt_state: optax.OptState
    rng: jax.Array


def make_state(step, size=4, mesh=None):
    params = {
        "blocks": {0: {"kernel": jnp.full((size, size), step + 0.1)}},
        "b": jnp.ones(3) * step,
    }
    state = State(
        step=jnp.int32(step),
        params=params,
        ema={"half": jnp.full(5, step, jnp.bfloat16)},
        opt_state=optax.sgd(optax.linear_schedule(0.1, 0, 9), momentum=0.9).init(params),
        rng=jax.random.key(step),
    )
    return jax.device_put(state, replicated(mesh or make_mesh()))


def abstract(state, mesh=None):
    sharding = replicated(mesh or make_mesh())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


def steps_on_disk(path):
    return {int(entry.name) for entry in path.iterdir() if entry.name.isdecimal()}


def test_latest_and_best_stay(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert (checkpoints.latest_step, checkpoints.best_step, checkpoints.best_score) == (
            None,
        ) * 3
        checkpoints.save(1, make_state(1))
        assert (checkpoints.best_step, checkpoints.best_score) == (None, None)
        for step, metric in [
            (2, 50.0),
            (3, None),
            (4, 70.5),
            (5, float("nan")),
            (6, 60.0),
            (7, None),
        ]:
            checkpoints.save(step, make_state(step), metric=metric)
            # The newest one is never deleted.
            assert checkpoints.latest_step == step
        checkpoints.wait()
        assert steps_on_disk(tmp_path) == {4, 6, 7}
    with Checkpoints(tmp_path) as reopened:
        assert (reopened.latest_step, reopened.best_step, reopened.best_score) == (7, 4, 70.5)
        assert_equal(reopened.restore(abstract(make_state(0)), step=4), make_state(4))


def test_milestones_stay(tmp_path):
    assert preservation.milestones(100, 3) == (33, 66, 100)
    assert preservation.milestones(100, 0) == ()
    with Checkpoints(tmp_path, keep=1, milestones=(2, 4)) as checkpoints:
        for step in range(1, 7):
            checkpoints.save(step, make_state(step), wait=True)
    assert steps_on_disk(tmp_path) == {2, 4, 6}


def test_the_best_of_each_protocol_stays(tmp_path):
    """Checkpoints without a recorded protocol belong to the one that the run started with."""
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, make_state(1), metric=70.0, protocol="whole", wait=True)
        checkpoints.save(2, make_state(2), metric=60.0, protocol="whole", wait=True)
    metrics = tmp_path / "1" / "metrics" / "metrics"
    assert json.loads(metrics.read_text()) == {"score": 70.0, "protocol": "whole"}
    metrics.write_text('{"score": 70.0}')
    checksums.write(tmp_path / "1")
    with Checkpoints(tmp_path, keep=1, old_protocol="whole") as checkpoints:
        assert (checkpoints.best_step, checkpoints.best_score) == (1, 70.0)
        for step, metric, protocol in [
            (3, None, "whole"),
            (4, 50.0, "flip"),
            (5, 45.0, "flip"),
            (6, None, "flip"),
        ]:
            checkpoints.save(step, make_state(step), metric=metric, protocol=protocol, wait=True)
        assert (checkpoints.best_step, checkpoints.best_score) == (4, 50.0)
        assert steps_on_disk(tmp_path) == {1, 4, 6}
        # Back again: the best of both protocols is remembered.
        checkpoints.save(7, make_state(7), metric=65.0, protocol="whole", wait=True)
        assert (checkpoints.best_step, checkpoints.best_score) == (1, 70.0)
        checkpoints.save(8, make_state(8), metric=75.0, protocol="whole", wait=True)
        assert (checkpoints.best_step, checkpoints.best_score) == (8, 75.0)
        assert checkpoints.scores().best == {"whole": (8, 75.0), "flip": (4, 50.0)}
        checkpoints.save(9, make_state(9), protocol="whole", wait=True)
    assert steps_on_disk(tmp_path) == {4, 8, 9}


def test_eight_devices_to_one_and_back(tmp_path):
    one = jax.make_mesh((1,), ("data",), (AxisType.Auto,), devices=jax.devices()[:1])
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(1), wait=True)
        on_one = checkpoints.restore(abstract(make_state(0), one))
        assert {len(x.sharding.device_set) for x in jax.tree.leaves(on_one)} == {1}
        assert_equal(on_one, make_state(1))
        checkpoints.save(2, on_one, wait=True)
        on_eight = checkpoints.restore(abstract(make_state(0)))
        assert {len(x.sharding.device_set) for x in jax.tree.leaves(on_eight)} == {8}
        assert_equal(on_eight, make_state(1))


def test_donation_right_after_save_changes_nothing(tmp_path):
    advance = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf * 2 + 1, x), donate_argnums=0)
    state = jax.device_put(
        {"w": jnp.zeros((1500, 1500)), "n": jnp.int32(0)}, replicated(make_mesh())
    )
    with Checkpoints(tmp_path, keep=4) as checkpoints:
        for step in range(4):
            checkpoints.save(step, state)
            for _ in range(3):
                state = advance(state)
        for step in range(4):
            saved = checkpoints.restore(abstract(state), step=step)
            assert saved["n"] == 8**step - 1
            np.testing.assert_array_equal(saved["w"], np.full((1500, 1500), 8**step - 1))


def test_saving_a_step_again_replaces_it(tmp_path):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(3, make_state(3))
        checkpoints.save(3, make_state(4), metric=1.5)
        assert checkpoints.best_score == 1.5
        assert_equal(checkpoints.restore(abstract(make_state(0))), make_state(4))
    assert {entry.name for entry in tmp_path.iterdir()} == {"3"}


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
def test_replacement_killed_before_or_after_its_successor_is_whole(tmp_path, written):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(3, make_state(3))
    shutil.copytree(tmp_path / "3", tmp_path / ".3.replaced")
    if not written:
        (tmp_path / "3").rename(tmp_path / "3.orbax-checkpoint-tmp")
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.latest_step == 3
        assert_equal(checkpoints.restore(abstract(make_state(0))), make_state(3))
        assert not (tmp_path / ".3.replaced").exists()


def test_restore_path_takes_a_run_its_checkpoints_or_one_step(tmp_path):
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        for step in (10, 20):
            checkpoints.save(step, make_state(step))
    before = sorted(tmp_path.rglob("*"))
    for path, step in ((tmp_path, 20), (folder, 20), (folder / "10", 10)):
        state, found = restore_path(path, abstract(make_state(0)))
        assert found == step
        assert_equal(state, make_state(step))
    assert sorted(tmp_path.rglob("*")) == before


def test_another_state_is_refused_leaf_by_leaf(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(1))
        wanted = abstract(make_state(0, size=6)).replace(ema={"new": jnp.zeros(5, jnp.float32)})
        wanted.params["b"] = jax.ShapeDtypeStruct((3,), jnp.bfloat16)
        with pytest.raises(ConfigError) as caught:
            checkpoints.restore(wanted)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert str(tmp_path / "1") in lines[0]
    assert {
        "ema.half: only in the checkpoint",
        "ema.new: not in the checkpoint",
        "params.b: float32[3] in the checkpoint, bfloat16[3] here",
        "params.blocks.0.kernel: float32[4, 4] in the checkpoint, float32[6, 6] here",
    } <= set(lines)


def test_absent_checkpoints_are_named(tmp_path):
    wanted = abstract(make_state(0))
    with pytest.raises(ConfigError, match=f"{tmp_path}/absent: there is no such folder"):
        restore_path(tmp_path / "absent", wanted)
    with pytest.raises(ConfigError, match=f"{tmp_path}: no checkpoint there"):
        restore_path(tmp_path, wanted)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(1))
        with pytest.raises(ConfigError, match=r"7: no such checkpoint; there are \[1\]"):
            checkpoints.restore(wanted, step=7)
    with pytest.raises(ConfigError, match="checkpoint.keep=0"):
        Checkpoints(tmp_path, keep=0)


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
