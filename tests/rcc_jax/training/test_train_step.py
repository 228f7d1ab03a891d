"""One training step of a small network: methods, devices, accumulation, EMA, the watch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, Mesh

from rcc_jax import methods
from rcc_jax.config import presets
from rcc_jax.models import DeepLabV3Plus
from rcc_jax.models.layers import BatchNorm, dropout_channels
from rcc_jax.training import optimizer, train_state, train_step
from rcc_jax.training.train_state import Weights

NUM_CLASSES, SIZE = 5, 33


def make_mesh(count):
    return Mesh(np.array(jax.devices()[:count]), ("data",), axis_types=(AxisType.Auto,))


def make_batch(method, rows=8, seed=0, size=SIZE):
    rng = np.random.default_rng(seed)

    def image(count):
        return rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8)

    labeled = image(rows * method.labeled_per_unlabeled)
    labels = labeled[..., 0] // (256 // NUM_CLASSES + 1)
    labels[:, :3] = 255
    batch = {"labeled": {"image": labeled, "label": labels}}
    if method.strong_views:
        names = ["weak", *(f"strong{i + 1}" for i in range(method.strong_views))]
        for stream in ("unlabeled", "partner"):
            valid = np.ones((rows, size, size), bool)
            valid[:, rng.integers(2 * size // 3 - 2, size) :] = False
            batch[stream] = {"valid": valid, **{name: image(rows) for name in names}}
        corners = np.sort(rng.integers(0, size, (rows, method.strong_views, 2, 2)), axis=2)
        batch["unlabeled"]["boxes"] = corners.reshape(rows, method.strong_views, 4).astype(np.int32)
    return batch


def make_method(name="rcc", **changes):
    changes = {"confidence_threshold": 0.3, "ohem_min_kept": 300, **changes}
    return methods.Method(**presets.PRESETS[name], **changes)


class SmallNetwork(nnx.Module):
    """Two convolutions with BatchNorm between, called like the real network."""

    def __init__(self, dtype, freeze_bn, rngs):
        types = {"dtype": dtype, "param_dtype": dtype, "rngs": rngs}
        self.backbone = nnx.Conv(3, 12, (3, 3), use_bias=False, **types)
        self.norm = BatchNorm(12, frozen=freeze_bn, dtype=dtype)
        self.classifier = nnx.Conv(12, NUM_CLASSES, (3, 3), **types)

    def __call__(self, images, *, train, perturb_rngs=None):
        features = nnx.relu(self.norm(self.backbone(images), train=train))
        if perturb_rngs is None:
            return self.classifier(features)
        dropped = dropout_channels(features, perturb_rngs.dropout())
        return train_step.separate(self.classifier(train_step.interleave(features, dropped)))


@functools.cache
def initial_weights(build):
    """Parameters and statistics as numpy; one call is slow, so a test makes few."""

    def create(key):
        _, params, stats = nnx.split(build(key), nnx.Param, nnx.BatchStat)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    create = jax.jit(create) if build is deeplab else create
    return jax.device_get(create(jax.random.key(1)))


def small(key, *, dtype, freeze_bn=False):
    return SmallNetwork(dtype, freeze_bn, nnx.Rngs(key))


class FragileNetwork(SmallNetwork):
    """Its logits are NaN where a batch is all white."""

    def __call__(self, images, *, train, perturb_rngs=None):
        logits = super().__call__(images, train=train, perturb_rngs=perturb_rngs)
        return logits + jnp.where(images.min() > 2, jnp.nan, 0)


def fragile(key):
    return FragileNetwork(jnp.float32, False, nnx.Rngs(key))


class Setup:
    """A network with everything that a step needs."""

    def __init__(
        self,
        method,
        devices=1,
        dtype=jnp.float32,
        accumulation=1,
        max_skipped=0,
        build=None,
        num_steps=20,
        **network,
    ):
        self.method, self.mesh, self.dtype = method, make_mesh(devices), dtype
        self.schedule = optimizer.poly_schedule(0.05, num_steps)
        self.optimizer = optimizer.sgd(self.schedule, head_multiplier=2.0)
        self.build = build or functools.partial(small, dtype=dtype, **network)
        self.network = train_step.Network(
            nnx.graphdef(nnx.eval_shape(lambda: self.build(jax.random.key(0)))), dtype
        )
        self.step = train_step.make_train_step(
            self.network,
            method,
            self.optimizer,
            self.schedule,
            self.mesh,
            accumulation=accumulation,
            max_skipped=max_skipped,
        )

    def state(self):
        params, stats = initial_weights(self.build)
        return train_state.create(
            Weights(*jax.tree.map(jnp.asarray, (params, stats))),
            self.optimizer,
            jax.random.key(1),
            ema=self.method.ema_decay > 0,
            term_names=train_step.watched_terms(self.method),
        )

    def run(self, steps):
        state, log = self.state(), []
        for step in range(steps):
            state, scalars = self.step(state, make_batch(self.method, seed=step))
            log.append(jax.device_get(scalars))
        return jax.device_get(dataclasses.replace(state, rng=jax.random.key_data(state.rng))), log


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
        one, one_log = Setup(method, 1, jnp.float64).run(5)
        eight, eight_log = Setup(method, 8, jnp.float64).run(5)
    assert one.weights.params["classifier"]["bias"].dtype == np.float64
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), one_log, eight_log)
    for part in ("weights", "opt_state", "ema"):
        if getattr(one, part) is not None:
            assert relative_distance(getattr(eight, part), getattr(one, part)) < 1e-9


def deeplab(key):
    return DeepLabV3Plus(
        NUM_CLASSES,
        "resnet18",
        "v1",
        width=8,
        decoder_channels=16,
        aspp_rates=(1, 2, 3),
        rngs=nnx.Rngs(key),
    )


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


@pytest.mark.parametrize("name", ["fixmatch", "unimatch", "cc"])
def test_every_method_moves_the_weights_and_learns_the_batch(name):
    setup = Setup(make_method(name))
    state, losses = setup.state(), []
    batch = make_batch(setup.method)
    for _ in range(20):
        state, scalars = setup.step(state, batch)
        losses.append(float(scalars["loss_labeled"]))
    assert losses[-1] < 0.9 * losses[0]
    assert int(state.step) == 20
    assert int(state.bad_step) == 0


def test_accumulation_equals_one_part_where_batch_norm_is_frozen():
    with jax.enable_x64(True):
        # Dropped channels are drawn per part, so the perturbed stream is left out.
        method = dataclasses.replace(make_method(), feature_perturbation=False)
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


def test_statistics_move_in_the_weak_and_then_the_strong_pass():
    setup = Setup(make_method("fixmatch"))
    state, batch = setup.state(), make_batch(setup.method)
    model = nnx.merge(setup.network.graphdef, state.weights.params, state.weights.stats)
    images = train_step.views.normalize(
        np.concatenate([batch["labeled"]["image"], batch["unlabeled"]["weak"]])
    )
    masks = train_step.views.box_masks(batch["unlabeled"]["boxes"][:, 0], SIZE, SIZE)
    mixed = train_step.views.paste(
        masks, batch["partner"]["strong1"], batch["unlabeled"]["strong1"]
    )
    model(images, train=True)
    model(train_step.views.normalize(mixed), train=True)
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
