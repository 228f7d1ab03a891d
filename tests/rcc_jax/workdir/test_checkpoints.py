import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from rcc_jax.distributed.meshes import make_mesh, replicated
from rcc_jax.errors import ConfigError
from rcc_jax.workdir import checksums, preservation
from rcc_jax.workdir.checkpoint_paths import restore_path
from rcc_jax.workdir.checkpoints import Checkpoints
from tests.support.small_state import abstract, assert_equal, make_state, steps_on_disk


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
