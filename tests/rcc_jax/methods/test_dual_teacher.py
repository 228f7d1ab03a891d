"""Dual Teacher: whose turn it is, ClassMix by hand, and a step against plain float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.methods import METHODS, dual_teacher
from rcc_jax.methods.base import Clock
from tests.support.plain import (
    assert_close,
    loss_of,
    mixed_by_box,
    plain,
    plain_cross_entropy,
    plain_labeled,
    plain_pseudo,
)
from tests.support.steps import Setup, make_batch, make_method

pytestmark = pytest.mark.usefixtures("in_float64")


def clock(step):
    return Clock(jnp.asarray(step, jnp.int32), 4, 20)


def test_the_average_starts_anew_with_every_turn():
    (teacher,) = METHODS["dual_teacher"](ema_decay=0.7).teachers
    decays = [float(teacher.decay(clock(t))) for t in range(9)]
    np.testing.assert_allclose(decays, [0, 1 / 2, 2 / 3, 0.7, 0, 1 / 2, 2 / 3, 0.7, 0], rtol=1e-6)
    (teacher,) = METHODS["dual_teacher"](turn_steps=2).teachers
    assert [float(teacher.decay(clock(t))) for t in range(4)] == [0, 0.5, 0, 0.5]


def test_teachers_change_places_at_the_start_of_a_turn():
    method = METHODS["dual_teacher"](turn_steps=3)
    averaged, memory = jnp.asarray(1.0), method.memory(jnp.asarray(2.0), 5, None)
    seen = []
    for step in range(9):
        averaged, memory = method.on_duty(averaged, memory, clock(step))
        seen.append((float(averaged), float(memory["resting"])))
    assert seen == 3 * [(1, 2)] + 3 * [(2, 1)] + 3 * [(1, 2)]
    # The first step of the turn was skipped: the teachers change places in the next one.
    assert float(method.on_duty(1.0, method.memory(jnp.asarray(2.0), 5, None), clock(4))[0]) == 2


def test_half_of_the_classes_by_hand():
    labels = jnp.array([[[0, 0, 1, 3, 4]], [[2, 2, 2, 2, 2]], [[0, 1, 2, 3, 4]]])
    valid = jnp.array([[[1, 1, 1, 1, 0]], [[1, 1, 1, 1, 1]], [[1, 1, 1, 1, 1]]], bool)
    kept = {
        tuple(map(tuple, np.asarray(found)[:, 0].astype(int).tolist()))
        for found in (
            dual_teacher.half_of_the_classes(labels, valid, 5, jax.random.key(seed))
            for seed in range(80)
        )
    }
    # One of the classes 0, 1 and 3 with all of its pixels; the padding never.
    assert {row for row, _, _ in kept} == {(1, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0)}
    # Half of one class is none.
    assert {row for _, row, _ in kept} == {(0, 0, 0, 0, 0)}
    # Two of five, any two of them.
    assert {sum(row) for _, _, row in kept} == {2}
    assert len({row for _, _, row in kept}) == 10


@pytest.mark.parametrize(
    ("pixels", "kind"), [("valid", "hard"), ("confident", "hard"), ("valid", "soft")]
)
@pytest.mark.parametrize("turn", [0, 1])
def test_a_step_equals_a_plain_computation_of_what_it_mixed(turn, pixels, kind):
    method = METHODS["dual_teacher"](
        confidence_threshold=0.9, mixed_pixels=pixels, pseudo_labels=kind
    )
    batch = make_batch(method, rows=3)
    found = loss_of(method, batch, key=7, step=5 * turn + 1)
    u, partner = batch["unlabeled"], batch["partner"]
    weak = plain(u["weak"], "teacher")
    if turn == 0:
        strong, seen, valid = (mixed_by_box(batch, name) for name in ("strong1", "weak", "valid"))
    else:
        kept = np.asarray(
            dual_teacher.half_of_the_classes(
                jnp.asarray(weak.argmax(-1)), jnp.asarray(u["valid"]), 5, jax.random.key(7)
            )
        )
        assert 0.1 < kept.mean() < 0.9
        strong, seen = (
            np.where(kept[..., None], u[name], partner[name]) for name in ("strong1", "weak")
        )
        valid = np.where(kept, u["valid"], partner["valid"])
    target, counting = plain_pseudo(plain(seen, "teacher"), kind, 0.9)
    pixel = plain_cross_entropy(plain(strong), target)
    confident = counting & valid
    assert kind == "soft" or 0.1 < confident.sum() / valid.sum() < 0.95
    if pixels == "confident":
        mixed = pixel[confident].sum() / valid.sum()
    elif turn == 0:
        shares = confident.sum((1, 2)) / valid.sum((1, 2))
        mixed = sum(s * p[v].sum() for s, p, v in zip(shares, pixel, valid, strict=True))
        mixed /= valid.sum()
    else:
        mixed = confident.sum() / valid.sum() * pixel[valid].mean()
    target, counting = plain_pseudo(weak, kind, 0.9)
    unmixed = plain_cross_entropy(plain(u["strong1"]), target)[counting & u["valid"]].mean()
    np.testing.assert_allclose(found.terms["loss_mixed"], mixed, rtol=1e-9)
    np.testing.assert_allclose(found.terms["loss_unmixed"], unmixed, rtol=1e-9)
    np.testing.assert_allclose(found.loss, plain_labeled(batch) + mixed + 0.2 * unmixed, rtol=1e-9)


def test_no_average_is_refused():
    (fault,) = METHODS["dual_teacher"](ema_decay=0.0).faults(5)
    assert "dual_teacher averages its teachers; use a decay above 0" in fault


SHORT = {"steps_per_epoch": 2, "num_steps": 8}


def test_the_teacher_on_duty_becomes_the_student_and_the_other_rests():
    made = Setup(make_method("dual_teacher"), 1, jnp.float64, max_skipped=2, **SHORT)
    (two, _), (three, _), (four, _) = (made.run(steps) for steps in (2, 3, 4))
    assert_close(three.ema, three.weights)
    jax.tree.map(np.testing.assert_array_equal, three.memory["resting"], two.ema)
    jax.tree.map(np.testing.assert_array_equal, four.memory["resting"], two.ema)
    expected = jax.tree.map(lambda a, b: (a + b) / 2, three.weights, four.weights)
    assert_close(four.ema, expected)

    # A skipped first step of a turn leaves both where they are.
    state = made.state()
    for step in range(2):
        state, _ = made.step(state, make_batch(made.method, seed=step))
    broken = jax.tree.map(lambda x: x * jnp.nan, state.weights.params)
    state = state.replace(weights=state.weights.replace(params=broken))
    skipped, scalars = made.step(state, make_batch(made.method))
    assert int(scalars["skipped_steps"]) == 1
    jax.tree.map(np.testing.assert_array_equal, skipped.ema, two.ema)
    jax.tree.map(np.testing.assert_array_equal, skipped.memory, two.memory)


@pytest.mark.slow
def test_eight_devices_train_as_one_and_a_resumed_run_as_an_uninterrupted_one(tmp_path):
    def run(devices, *stop):
        return Setup(make_method("dual_teacher"), devices, jnp.float64, **SHORT).run(6, *stop)

    (one, one_log), (eight, eight_log), (resumed, _) = run(1), run(8), run(1, tmp_path, 3)
    for part in ("weights", "ema", "memory"):
        jax.tree.map(np.testing.assert_array_equal, getattr(one, part), getattr(resumed, part))
        assert_close(getattr(one, part), getattr(eight, part))
    assert_close(one_log, eight_log)
