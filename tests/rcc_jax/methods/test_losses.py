"""Cross-entropy, pseudo labels and hard example mining against recorded and brute-force numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.methods import losses

cross_entropy = jax.jit(losses.cross_entropy)


def random_problem(seed=0, shape=(2, 5, 6), num_classes=7):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, shape)
    labels[rng.random(shape) < 0.2] = 255
    return rng.normal(scale=2, size=(*shape, num_classes)).astype(np.float32), labels


def test_cross_entropy_skips_ignored_pixels():
    logits, labels = random_problem()
    log_p = np.asarray(jax.jit(jax.nn.log_softmax)(logits))
    expected = np.where(
        labels == 255,
        0,
        -np.take_along_axis(log_p, np.where(labels == 255, 0, labels)[..., None], -1)[..., 0],
    )
    np.testing.assert_allclose(cross_entropy(logits, labels), expected, atol=1e-6)
    gradient = jax.jit(jax.grad(lambda x: losses.cross_entropy(x, labels).sum()))(logits)
    one_hot = np.eye(7)[np.where(labels == 255, 0, labels)]
    expected = np.where((labels == 255)[..., None], 0, np.exp(log_p) - one_hot)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_cross_entropy_is_finite_at_extremes():
    logits = jnp.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]])
    value, gradient = jax.jit(
        jax.value_and_grad(lambda x: losses.cross_entropy(x, np.array([1, 255])).sum())
    )(logits)
    assert value == 2e4
    assert jnp.isfinite(gradient).all()


def test_pseudo_labels():
    logits, _ = random_problem()
    label, confidence = jax.jit(losses.pseudo_labels)(logits)
    p = np.asarray(jax.jit(jax.nn.softmax)(logits))
    np.testing.assert_array_equal(label, p.argmax(-1))
    np.testing.assert_allclose(confidence, p.max(-1), rtol=1e-6)


@pytest.mark.parametrize(
    ("regime", "threshold", "min_kept"),
    [("thresh_active", 0.7, 100), ("kth_active", 0.1, 1168), ("passthrough", 0.7, 1229)],
)
def test_ohem_equals_the_oracle(small_and_whole_oracles, regime, threshold, min_kept):
    oracle = np.load(small_and_whole_oracles / "ohem.npz")
    # The small one has as many as fit its pixels.
    min_kept = int(oracle.get(f"{regime}/min_kept", min_kept))
    logits, labels = np.moveaxis(oracle["logits"], 1, -1), oracle["target"]

    def loss(x):
        mask = losses.ohem_mask(x, labels, threshold=threshold, min_kept=min_kept)
        return losses.masked_sum(losses.cross_entropy(x, labels), mask) / mask.sum(), mask

    (value, mask), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(logits)
    assert mask.sum() == oracle[f"{regime}/kept"]
    np.testing.assert_allclose(value, oracle[f"{regime}/loss"], rtol=1e-5)
    expected = np.moveaxis(oracle[f"{regime}/grad"], 1, -1)
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())


def test_ohem_without_a_least_number_keeps_every_labelled_pixel():
    logits = jnp.log(jnp.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]))
    mask = losses.ohem_mask(logits, jnp.array([0, 0, 255]), threshold=0.7, min_kept=0)
    assert mask.tolist() == [True, True, False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kth_smallest_equals_a_sort(dtype):
    values = np.random.default_rng(0).random(1000).astype(dtype) ** 8
    values[:20] = values[20]
    values[40:45] = [0, 0, 1, 1, 1e-40]
    with jax.enable_x64(dtype == np.float64):
        for k in (1, 2, 3, 15, 500, 999, 1000):
            found = losses._kth_smallest(jnp.asarray(values), k)
            assert found == np.sort(values)[k - 1]
