"""One training step of a small network: methods, devices, accumulation, EMA, the watch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from rcc_jax.methods import cutmix
from rcc_jax.methods.fixmatch import FixMatch
from rcc_jax.methods.rcc import RCC
from rcc_jax.models.dinov2_dpt import DinoV2DPT
from rcc_jax.models.network import Weights, normalize
from rcc_jax.training import optimizer, train_state, train_step
from tests.support import tiny_vit
from tests.support.steps import SIZE, Setup, deeplab, fragile, make_batch, make_method


def relative_distance(actual, expected):
    """Largest difference over all leaves, relative to the largest value of all leaves."""
    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    scale = max(np.abs(leaf).max() for leaf in expected)
    return max(np.abs(a - b).max() for a, b in zip(actual, expected, strict=True)) / scale


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("supervised", {}),
        ("rcc", {"labeled_loss": "ohem", "ema_decay": 0.9}),
    ],
    ids=["supervised", "rcc_ohem_ema"],
)
def test_eight_devices_train_like_one_in_float64(name, changes):
    method = make_method(name, **changes)
    with jax.enable_x64(True):
        one, one_log = Setup(method, 1, jnp.float64).run(2)
        eight, eight_log = Setup(method, 8, jnp.float64).run(2)
    assert one.weights.params["classifier"]["bias"].dtype == np.float64
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), one_log, eight_log)
    for part in ("weights", "opt_state", "ema"):
        if getattr(one, part) is not None:
            assert relative_distance(getattr(eight, part), getattr(one, part)) < 1e-9


@pytest.mark.slow
def test_eight_devices_start_like_one_in_float32():
    """The real network; its first step, since BatchNorm amplifies rounding from there on."""
    one, one_log = Setup(make_method(), 1, build=deeplab).run(1)
    eight, eight_log = Setup(make_method(), 8, build=deeplab).run(1)
    assert set(one_log[0]) == {
        "loss", "loss_labeled", "loss_strong1", "loss_strong2", "loss_perturbed",
        "loss_consensus", "kept_ratio", "learning_rate", "gradient_norm",
    }  # fmt: skip
    np.testing.assert_allclose(eight_log[0]["loss"], one_log[0]["loss"], rtol=1e-5)
    # The momentum buffer holds the first gradient, to which the same decay is added.
    assert relative_distance(eight.opt_state, one.opt_state) < 1e-3


@pytest.mark.parametrize(
    "name", ["unimatch", *(pytest.param(n, marks=pytest.mark.slow) for n in ("fixmatch", "cc"))]
)
def test_a_method_learns_its_batch(name):
    setup = Setup(make_method(name))
    state, losses = setup.state(), []
    batch = make_batch(setup.method)
    for _ in range(20):
        state, scalars = setup.step(state, batch)
        losses.append(float(scalars["loss_labeled"]))
    assert losses[-1] < 0.9 * losses[0]
    assert int(state.step) == 20
    assert int(state.bad_step) == 0


def test_adamw_with_a_frozen_encoder_resumes_bit_for_bit(tmp_path):
    made = Setup(make_method("unimatch", ema_decay=0.5), rule="adamw", freeze_encoder=True)
    (whole, _), (resumed, _) = made.run(3), made.run(3, tmp_path, 2)
    for part in ("weights", "ema", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(resumed, part), getattr(whole, part))


class WithoutDropout(RCC):
    """Dropped channels are drawn per part, so the third stream sees all of them."""

    def passes(self, nets, batch, key):
        logits = FixMatch.passes(self, nets, batch, key)
        return dataclasses.replace(logits, perturbed=logits.weak)


def test_accumulation_equals_one_part_where_batch_norm_is_frozen():
    with jax.enable_x64(True):
        method = WithoutDropout(confidence_threshold=0.3)
        whole, whole_log = Setup(method, 2, jnp.float64, freeze_bn=True).run(2)
        parts, parts_log = Setup(method, 2, jnp.float64, accumulation=4, freeze_bn=True).run(2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), parts_log, whole_log)
    assert relative_distance(parts.weights, whole.weights) < 1e-9


def test_ema_teacher_makes_the_targets_and_averages():
    method = make_method("unimatch", ema_decay=0.5)
    setup = Setup(method)
    after, _ = setup.run(1)
    # The ramp starts at 1 - 1 / (0 + 1) = 0: after the first step the average is the student.
    jax.tree.map(np.testing.assert_array_equal, after.ema, after.weights)
    two, _ = setup.run(2)
    expected = jax.tree.map(lambda a, b: a + 0.5 * (b - a), after.weights, two.weights)
    assert relative_distance(two.ema, expected) < 1e-6
    # A teacher that always says class 0 makes the student's unlabelled loss its own.
    state = setup.state()
    bias = jnp.asarray([50.0, 0, 0, 0, 0])
    params = {**state.ema.params, "classifier": {**state.ema.params["classifier"], "bias": bias}}
    state = state.replace(ema=state.ema.replace(params=params))
    _, scalars = setup.step(state, make_batch(method))
    assert scalars["kept_ratio"] == 1


def test_a_frozen_encoder_has_no_gradient_no_momentum_and_no_second_copy():
    method = make_method("unimatch", ema_decay=0.5)
    start = jax.device_get(Setup(method).state().weights)
    (free, _), (frozen, _) = Setup(method).run(1), Setup(method, freeze_encoder=True).run(1)
    jax.tree.map(
        np.testing.assert_array_equal, frozen.weights.params["backbone"], start.params["backbone"]
    )
    for name in ("norm", "classifier"):
        # The gradient of one part does not depend on whether that of another is computed.
        assert relative_distance(frozen.weights.params[name], free.weights.params[name]) < 1e-6
    for tree in (frozen.ema.params, frozen.opt_state):
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
        assert not any("backbone" in jax.tree_util.keystr(path) for path in paths)
    assert frozen.averaged.params.keys() == frozen.weights.params.keys()


def test_a_step_with_a_frozen_encoder_costs_little_more_than_its_forward_passes():
    size = dataclasses.replace(tiny_vit.SIZE, features=96)
    method = make_method("supervised")

    def multiplications(frozen):
        def build(key):
            return DinoV2DPT(5, size=size, freeze_encoder=frozen, rngs=nnx.Rngs(key))

        setup = Setup(method, build=build, freeze_encoder=frozen)
        state = jax.eval_shape(
            lambda key: train_state.create(
                Weights.of(build(key)), setup.optimizer, key, ema=False,
                term_names=train_step.watched_terms(method), freeze_encoder=frozen,
            ),
            jax.random.key(0),
        )  # fmt: skip
        return setup.step.lower(state, make_batch(method, 2, size=56)).cost_analysis()["flops"]

    assert multiplications(frozen=True) < 0.55 * multiplications(frozen=False)


def test_statistics_move_in_the_weak_and_then_the_strong_pass():
    setup = Setup(make_method("fixmatch"))
    state, batch = setup.state(), make_batch(setup.method)
    model = nnx.merge(setup.network.graphdef, state.weights.params, state.weights.stats)
    images = normalize(np.concatenate([batch["labeled"]["image"], batch["unlabeled"]["weak"]]))
    masks = cutmix.box_masks(batch["unlabeled"]["boxes"][:, 0], SIZE, SIZE)
    mixed = cutmix.cutmix(masks, batch["partner"]["strong1"], batch["unlabeled"]["strong1"])
    model(images, train=True)
    model(normalize(mixed), train=True)
    expected = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    state, _ = setup.step(state, batch)
    assert relative_distance(state.weights.stats, expected) < 1e-5


def settle(setup, state, *names):
    """The state on the host after steps with batches of these kinds."""
    batches = {"good": make_batch(setup.method), "white": make_batch(setup.method)}
    batches["white"]["labeled"]["image"][:] = 255
    for name in names:
        state, scalars = setup.step(state, batches[name])
    found = jax.device_get(state.replace(rng=jax.random.key_data(state.rng)))
    return state, found, scalars


def equal(first, second):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, first, second)))


def test_a_step_that_is_not_finite_ends_the_training_before_it():
    setup = Setup(make_method("supervised", ema_decay=0.5), build=fragile)
    state, before, scalars = settle(setup, setup.state(), "good")
    assert "skipped_steps" not in scalars
    _, after, _ = settle(setup, state, "white", "good", "white")
    assert (int(after.bad_step), int(after.step)) == (2, 1)
    assert np.isnan(after.bad_terms["loss_labeled"])
    for part in ("weights", "ema", "opt_state"):
        assert equal(getattr(after, part), getattr(before, part))


def test_steps_that_are_not_finite_are_skipped_up_to_a_number_in_a_row():
    setup = Setup(make_method("supervised", ema_decay=0.5), build=fragile, max_skipped=2)
    state, before, _ = settle(setup, setup.state(), "good")
    state, after, scalars = settle(setup, state, "white", "white")
    assert (int(after.step), int(after.skipped), int(after.skipped_in_row)) == (3, 2, 2)
    assert (int(after.bad_step), int(scalars["skipped_steps"])) == (0, 2)
    assert np.isnan(after.bad_terms["loss"])
    assert equal((after.weights, after.ema), (before.weights, before.ema))
    # The momentum stays, the step of the schedule does not.
    changed = [
        x
        for x in zip(*map(jax.tree.leaves, (before.opt_state, after.opt_state)), strict=True)
        if not np.array_equal(*x)
    ]
    assert [(int(old), int(new)) for old, new in changed] == [(1, 3)]
    state, moved, _ = settle(setup, state, "good")
    assert (int(moved.skipped), int(moved.skipped_in_row)) == (2, 0)
    assert not equal(moved.weights, after.weights)
    _, ended, _ = settle(setup, state, "white", "white", "white", "good")
    assert (int(ended.bad_step), int(ended.step), int(ended.skipped)) == (7, 6, 4)
    assert equal(ended.weights, moved.weights)


def test_a_skipped_step_leaves_the_size_of_the_next_one_as_it_was():
    """Adam's averages are corrected by the number of gradients in them."""
    # So long a run that its learning rate hardly changes.
    setup = Setup(
        make_method("supervised"), build=fragile, max_skipped=2, rule="adamw", num_steps=10**6
    )
    _, once, _ = settle(setup, setup.state(), "good")
    _, after, _ = settle(setup, setup.state(), "white", "white", "good")
    assert int(after.skipped) == 2
    start = jax.device_get(setup.state().weights.params)
    moves = [jax.tree.map(np.subtract, each.weights.params, start) for each in (once, after)]
    assert relative_distance(*moves) < 1e-4


def test_whether_a_step_counts_is_not_computed_anew_for_every_leaf():
    setup = Setup(make_method("supervised"))
    state, batch = setup.state(), make_batch(setup.method)
    program = setup.step.lower(state, batch).compile().as_text()
    leaves = len(jax.tree.leaves((state.weights, state.opt_state)))
    assert 0 < program.count("is-finite(") < leaves * len(state.bad_terms)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_step_holds_no_second_copy_of_its_state(name):
    setup = Setup(make_method("supervised", ema_decay=0.9), rule=name)
    state, batch = setup.state(), make_batch(setup.method)
    program = setup.step.lower(state, batch).compile().as_text()
    assert program.count("copy(%state_") <= 4 < len(jax.tree.leaves(state.weights))


def test_adamw_is_that_of_torch():
    """Decoupled decay on all parameters; the head's factor scales update and decay."""
    schedule = optimizer.poly_schedule(0.1, 10)
    tx = optimizer.adamw(schedule, head_multiplier=40, beta1=0.9, beta2=0.999, weight_decay=0.01)
    # A head beside a wrapped network: the encoder is found at any depth.
    params = {"main": {"backbone": {"w": jnp.array(2.0)}}, "head": {"bias": jnp.array(2.0)}}
    state = tx.init(params)
    expected, mean, square = {"main": 2.0, "head": 2.0}, 0.0, 0.0
    for t in range(3):
        gradients = jax.tree.map(lambda _, g=t + 1.0: jnp.array(g), params)
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        mean = 0.9 * mean + 0.1 * (t + 1.0)
        square = 0.999 * square + 0.001 * (t + 1.0) ** 2
        step = mean / (1 - 0.9 ** (t + 1)) / ((square / (1 - 0.999 ** (t + 1))) ** 0.5 + 1e-8)
        for name, factor in (("main", 1), ("head", 40)):
            rate = factor * 0.1 * (1 - t / 10) ** 0.9
            expected[name] -= rate * (step + 0.01 * expected[name])
    np.testing.assert_allclose(params["main"]["backbone"]["w"], expected["main"], rtol=1e-5)
    np.testing.assert_allclose(params["head"]["bias"], expected["head"], rtol=1e-5)


def test_sgd_is_the_recipe():
    """Weight decay before momentum on all parameters; head multiplier; poly decay."""
    schedule = optimizer.poly_schedule(0.1, 10)
    tx = optimizer.sgd(schedule, head_multiplier=10, momentum=0.9, weight_decay=0.01)
    params = {"backbone": {"w": jnp.array(2.0)}, "head": {"bias": jnp.array(2.0)}}
    state = tx.init(params)
    expected, buffer = {"backbone": 2.0, "head": 2.0}, {"backbone": 0.0, "head": 0.0}
    for t in range(3):
        gradients = jax.tree.map(lambda _, g=t + 1.0: jnp.array(g), params)
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        for name, factor in (("backbone", 1), ("head", 10)):
            buffer[name] = 0.9 * buffer[name] + (t + 1.0) + 0.01 * expected[name]
            expected[name] -= 0.1 * (1 - t / 10) ** 0.9 * factor * buffer[name]
    np.testing.assert_allclose(params["backbone"]["w"], expected["backbone"], rtol=1e-6)
    np.testing.assert_allclose(params["head"]["bias"], expected["head"], rtol=1e-6)
