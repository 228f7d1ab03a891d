"""Class-balanced pseudo labels: checks by hand, and a step against plain float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.methods import METHODS, class_balanced
from tests.support.plain import (
    KINDS,
    Pixelwise,
    assert_close,
    mixed_by_box,
    plain,
    plain_cross_entropy,
    plain_labeled,
    plain_pseudo,
    softmax,
)
from tests.support.steps import Setup, make_batch, make_method

pytestmark = pytest.mark.usefixtures("in_float64")


def test_pixels_of_the_weakest_class_always_count():
    confidence = jnp.array([0.9, 0.5, 0.1])
    np.testing.assert_allclose(class_balanced.rates(confidence), [1 / 9, 5 / 9, 1])
    predicted = jnp.eye(3)[jnp.arange(3).repeat(4000)].reshape(1, 3, 4000, 3)
    found = jax.jit(class_balanced.sample)(predicted, confidence, jax.random.key(0))
    np.testing.assert_allclose(found.mean(-1)[0], [1 / 9, 5 / 9, 1], atol=0.03)
    assert bool(found[0, 2].all())
    # No class is weak: none counts more often, and nothing is divided by 0.
    assert not np.isnan(class_balanced.rates(jnp.ones(3))).any()


def test_weights_by_hand():
    def weighted(threshold):
        return jax.jit(METHODS["class_balanced"](confidence_threshold=threshold).weighted)

    confidence = np.array([0.9, 0.8, 0.6])
    teacher = np.log(np.stack([confidence, 1 - confidence], -1))[None, None]
    sampled = np.ones((1, 1, 3), bool)
    for pixel, weight in enumerate([0.4475, 0.3536, 0.1989]):
        student = np.zeros((1, 1, 3, 2))
        student[0, 0, np.arange(3) != pixel, 0] = 50
        assert float(weighted(0.0)(student, teacher, sampled)) == pytest.approx(
            weight * np.log(2), abs=5e-5
        )
    # Below the threshold a pixel has no loss, but its weight stays in the sum.
    found = weighted(0.7)
    assert float(found(student, teacher, sampled)) == pytest.approx(0)
    alone = float(found(np.zeros_like(student), teacher, sampled))
    assert alone == pytest.approx((0.4475 + 0.3536) * np.log(2), abs=5e-5)
    assert float(found(student, teacher, ~sampled)) == 0


def test_an_absent_class_loses_confidence():
    method = METHODS["class_balanced"]()
    found = method.update(jnp.array([0.5, 0.5]), (jnp.array([0, 4]), jnp.array([0.0, 3.6])), 0, 0)
    np.testing.assert_allclose(found, [0.4995, 0.5004])
    start = method.memory(None, 7, jax.random.key(0))
    assert start.shape == (7,)
    assert 0 < float(start.min()) < float(start.max()) < 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_equals_a_plain_computation_of_what_it_sampled(kind):
    method = METHODS["class_balanced"](confidence_threshold=0.6, pseudo_labels=kind)
    batch = make_batch(method, rows=3)
    memory = jnp.array([0.9, 0.5, 0.1, 0.6, 0.3])

    @jax.jit
    def loss(batch):
        return method.loss(
            Pixelwise(), batch, memory, counts=method.counts(batch), parts=1, clock=None,
            key=jax.random.key(0),
        )  # fmt: skip

    found = jax.device_get(loss(batch))
    x, labels = batch["labeled"]["image"], batch["labeled"]["label"].astype(int)
    keys = jax.random.split(jax.random.key(0))

    def repeated(student, teacher, where, key):
        rate = (1 - np.asarray(memory)) / 0.9
        chance = rate[student.argmax(-1)]
        sampled = where & (np.asarray(jax.random.uniform(key, where.shape)) < chance)
        target, kept = plain_pseudo(teacher, kind, 0.6)
        weight = softmax(teacher).max(-1) ** 2 * sampled
        pixel_losses = plain_cross_entropy(student, target)
        return (weight * pixel_losses)[kept].sum() / weight.sum()

    valid = mixed_by_box(batch, "valid")
    of_labeled = repeated(plain(x), plain(x, "teacher"), labels != 255, keys[0])
    of_mixed = repeated(
        plain(mixed_by_box(batch, "strong1")),
        plain(mixed_by_box(batch, "weak"), "teacher"),
        valid,
        keys[1],
    )
    np.testing.assert_allclose(found.terms["loss_repeated"], of_labeled, rtol=1e-9)
    np.testing.assert_allclose(found.terms["loss_strong1"], of_mixed, rtol=1e-9)
    np.testing.assert_allclose(found.loss, plain_labeled(batch) + of_labeled + of_mixed, rtol=1e-9)
    p = softmax(plain(x))
    number, total = found.observations
    for c in range(5):
        assert number[c] == (labels == c).sum()
        np.testing.assert_allclose(total[c], p[labels == c][:, c].sum(), rtol=1e-9)


@pytest.mark.slow
def test_resumed_is_uninterrupted_and_eight_devices_train_as_one(tmp_path):
    def run(*arguments, devices=1):
        return Setup(make_method("class_balanced"), devices, jnp.float64).run(3, *arguments)

    state, log = run()
    resumed, _ = run(tmp_path, 2)
    for part in ("memory", "weights", "opt_state", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(resumed, part), getattr(state, part))
    eight, eight_log = run(devices=8)
    assert_close(eight_log, log)
    assert_close((eight.memory, eight.weights), (state.memory, state.weights))
