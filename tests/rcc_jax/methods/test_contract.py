"""What the trainer promises to a method, shown by one that uses all of it."""

import dataclasses
import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.config import checks, method_group, schema
from rcc_jax.consensus import players
from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS, with_consensus
from rcc_jax.options import options
from tests.support.plain import (
    assert_close,
)
from tests.support.steps import SIZE, Setup, make_batch, make_method
from tests.support.toy_method import Toy

pytestmark = pytest.mark.usefixtures("in_float64")


def setup(devices=1, **more):
    return Setup(Toy(confidence_threshold=0.3), devices, jnp.float64, **more)


@functools.cache
def run(devices=1, steps=3, accumulation=1, freeze_bn=False):
    with jax.enable_x64(True):
        return setup(devices, accumulation=accumulation, freeze_bn=freeze_bn).run(steps)


def test_the_memory_sees_every_step_and_the_ramp_starts_at_zero():
    state, log = run()
    pixels = 8 * SIZE * SIZE
    assert int(state.memory["seen"].sum()) == 3 * pixels
    assert [entry["loss_pull"] > 0 for entry in log] == [False, True, True]


def test_eight_devices_keep_the_memory_of_one():
    one, one_log = run()
    eight, eight_log = run(devices=8)
    assert_close(eight_log, one_log)
    assert_close(eight.memory, one.memory)


def test_parts_add_up_to_the_memory_of_the_whole_batch():
    whole, _ = run(freeze_bn=True)
    parts, _ = run(accumulation=2, freeze_bn=True)
    assert_close(parts.memory, whole.memory)
    assert_close(parts.weights, whole.weights)


def test_resumed_is_uninterrupted(tmp_path):
    uninterrupted, _ = run()
    state, _ = setup().run(3, tmp_path, stop_at=2)
    for part in ("memory", "weights", "opt_state"):
        jax.tree.map(
            np.testing.assert_array_equal, getattr(state, part), getattr(uninterrupted, part)
        )


def test_a_state_without_memory_is_saved_as_before_there_was_one():
    state = Setup(make_method("supervised")).state()
    assert state.memory is None
    assert set(state.saved()) == {
        "step", "weights", "ema", "opt_state", "rng", "bad_step", "bad_terms", "skipped",
        "skipped_in_row",
    }  # fmt: skip


def test_a_skipped_step_leaves_the_memory_alone():
    toy = setup(max_skipped=2)
    state, _ = toy.step(toy.state(), make_batch(toy.method))
    before = jax.device_get(state.memory)
    means = state.memory["means"]
    state = state.replace(memory={**state.memory, "means": means * jnp.nan})
    state, scalars = toy.step(state, make_batch(toy.method, seed=1))
    assert int(scalars["skipped_steps"]) == 1
    np.testing.assert_array_equal(state.memory["seen"], before["seen"])


# Their losses depend on statistics of the whole batch.
WHOLE_BATCHES = {
    "class_balanced",
    "corrmatch",
    "cutmix_seg",
    "daw",
    "dual_teacher",
    "imas",
    "u2pl",
    "unimatch_u2pl",
}


@pytest.mark.parametrize("name", METHODS)
def test_parts_of_batches_are_refused_where_a_method_needs_whole_ones(name):
    fields = {"method.name": name, "train.accumulation": 2}
    message = f"config.train.accumulation = 2: {name} needs whole batches; use 1."
    needs_whole = name in WHOLE_BATCHES
    assert (message in checks.faults(config(**fields))) == needs_whole
    if needs_whole:
        with pytest.raises(ValueError, match=f"{name} needs whole batches, accumulation is 2"):
            Setup(make_method(name), accumulation=2)


def test_a_second_teacher_is_refused_rather_than_averaged_into_the_first():
    class Two(Toy):
        teachers = 2 * Toy(ema_decay=0.9).teachers

    with pytest.raises(ValueError, match="toy has 2 teachers"):
        Setup(Two())


@pytest.mark.parametrize("name", METHODS)
def test_methods_name_the_terms_that_they_return_and_keep_the_types_of_the_state(name):
    made = Setup(make_method(name))
    state = jax.eval_shape(lambda x: x, made.state())
    after, scalars = jax.eval_shape(made.step, state, make_batch(made.method))
    others = {"loss", "learning_rate", "gradient_norm"}
    assert set(made.method.terms) == set(scalars) - others
    # Otherwise the second step would be compiled anew, and a checkpoint could not be restored.
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        assert (new.shape, new.dtype) == (old.shape, old.dtype)
        assert new.weak_type == old.weak_type


def test_fields_of_one_name_mean_the_same_in_every_method():
    found = {}
    for method in METHODS.values():
        assert METHODS[method.name] is method
        assert method.summary
        assert method.reference
        for name, option in options(method).items():
            assert option.doc.endswith(".")
            assert option.fault(name, option.default) is None
            kind, short = found.setdefault(name, (type(option.default), option.short))
            assert (type(option.default), option.short) == (kind, short)


def test_as_many_players_are_allowed_as_the_consensus_takes():
    # Said twice, since fields are read without JAX.
    assert with_consensus.MAX_PLAYERS == players.MAX_PLAYERS


def test_fields_are_read_without_jax():
    script = (
        "import sys; sys.modules['jax'] = None\n"
        "from rcc_jax.config import schema\n"
        "print(schema.method_fields('rcc')['temperature'].default)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout == "1.0\n", found.stderr


def config(**fields):
    made = schema.defaults()
    made.update_from_flattened_dict({"data.unlabeled": "images", **fields})
    return made


def test_a_method_that_is_added_has_its_fields_everywhere(monkeypatch):
    monkeypatch.setitem(METHODS, "toy", Toy)
    made = config(**{"method.name": "toy"})
    assert method_group.values(made)["pull"] == 0.5
    made.method.pull = -1.0
    assert list(checks.faults(made)) == ["config.method.pull = -1.0 must be at least 0."]
    made.method.name = "rcc"
    with pytest.raises(ConfigError, match="method 'rcc' has no such field; it belongs to toy"):
        method_group.check_given(made, ["method.pull"])


def test_fields_of_other_methods_are_left_out_of_what_is_recorded():
    made = config(**{"method.name": "supervised", "method.temperature": 0.5})
    assert "temperature" not in method_group.resolved(made)["method"]
    assert dataclasses.asdict(method_group.build(made)) == method_group.values(made)


def test_fields_without_an_effect_are_recorded_with_their_defaults():
    made = config(**{"method.name": "unimatch", "method.temperature": 0.5, "method.top_n": 0})
    recorded = method_group.resolved(made)["method"]
    assert (recorded["temperature"], recorded["top_n"]) == (1.0, 4)
    assert not {"temperature", "top_n", "soft_share"} & method_group.used(made).keys()
    with pytest.raises(ConfigError, match="no effect with config.method.consensus = 'none'"):
        method_group.check_given(made, ["method.temperature"])
    made.method.consensus = "rank"
    assert method_group.used(made)["temperature"] == 0.5
    method_group.check_given(made, ["method.temperature"])


def test_recipes_of_data_leave_a_method_its_own_threshold():
    found = {
        name: method_group.recipe("cityscapes", name, "resnet50").get("confidence_threshold")
        for name in METHODS
    }
    assert (found["unimatch"], found["augseg"], found["class_balanced"]) == (0, 0, 0)
    assert (found["imas"], found["unimatch_v2"]) == (0.7, 0.95)
    own = {"cutmix_seg", "cps", "co_training", "daw", "dual_teacher", "corrmatch"}
    assert {name for name, value in found.items() if value is None} == own
    found = {
        name: method_group.recipe("cityscapes", name, "dinov2_small").get("confidence_threshold")
        for name in ("unimatch", "imas")
    }
    assert found == {"unimatch": None, "imas": 0.7}
