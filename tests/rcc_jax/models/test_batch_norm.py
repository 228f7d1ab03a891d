"""Batch normalisation: PyTorch's running statistics, for all batches and devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from rcc_jax.models.layers import BatchNorm
from rcc_jax.models.network import normalize
from tests.support.steps import (
    Setup,
    make_batch,
    make_mesh,
    make_method,
    small,
)

FEATURES = 3


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_it_starts_as_the_identity():
    norm = BatchNorm(4, frozen=False, dtype=jnp.bfloat16)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 3, 4)), jnp.bfloat16)
    y = norm(x, train=False)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, x)  # 1e-5 under the root is below bfloat16's steps


def test_it_moves_a_tenth_towards_the_batch():
    """All in float32, even for bfloat16 features near 100."""
    norm = BatchNorm(2, frozen=False, dtype=jnp.bfloat16)
    x = 100 + np.random.default_rng(0).standard_normal((4, 5, 5, 2))
    x = jnp.asarray(x, jnp.bfloat16)
    y = norm(x, train=True)
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(norm.mean[...], 0.1 * exact.mean(axis=(0, 1, 2)), rtol=1e-5)
    unbiased = exact.var(axis=(0, 1, 2), ddof=1)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * unbiased, rtol=1e-5)
    variance = exact.var(axis=(0, 1, 2))
    expected = (exact - exact.mean(axis=(0, 1, 2))) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(y.astype(jnp.float32), expected, atol=0.02)


@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 3, 2), (4, 1, 1)])
def test_running_variance_is_unbiased_however_few_values_there_are(shape):
    norm = BatchNorm(FEATURES, frozen=False, dtype=jnp.float32)
    x = draw(*shape, FEATURES)
    y = norm(x, train=True)
    expected = 0.9 + 0.1 * x.var(axis=(0, 1, 2), ddof=1)
    np.testing.assert_allclose(norm.var[...], expected, rtol=1e-5)
    # The biased variance normalises the batch itself.
    biased = x.var(axis=(0, 1, 2))
    np.testing.assert_allclose(np.var(y, axis=(0, 1, 2)), biased / (biased + 1e-5), rtol=1e-4)


def test_one_value_keeps_the_biased_variance_of_zero():
    norm = BatchNorm(FEATURES, frozen=False, dtype=jnp.float32)
    y = norm(draw(1, 1, 1, FEATURES), train=True)
    np.testing.assert_array_equal(y, np.zeros((1, 1, 1, FEATURES)))
    np.testing.assert_allclose(norm.var[...], np.full(FEATURES, 0.9), rtol=1e-6)


def test_frozen_statistics_stay():
    norm = BatchNorm(FEATURES, frozen=True, dtype=jnp.float32)
    x = draw(2, 1, 1, FEATURES)
    np.testing.assert_array_equal(norm(x, train=True), norm(x, train=False))
    np.testing.assert_array_equal(norm.mean[...], np.zeros(FEATURES))
    np.testing.assert_array_equal(norm.var[...], np.ones(FEATURES))


def test_count_is_that_of_all_eight_devices():
    """With one value per device, a count per device would leave the variance biased."""
    graphdef, state = nnx.split(BatchNorm(FEATURES, frozen=False, dtype=jnp.float32))

    @jax.jit
    def moved(state, x):
        norm = nnx.merge(graphdef, state)
        norm(x, train=True)
        return norm.var[...]

    x = draw(8, 1, 1, FEATURES)
    rows = jax.device_put(x, NamedSharding(make_mesh(8), PartitionSpec("data")))
    expected = 0.9 + 0.1 * x.var(axis=(0, 1, 2), ddof=1)
    np.testing.assert_allclose(moved(state, rows), expected, rtol=1e-5)


def test_count_is_that_of_a_part_where_a_batch_is_worked_through_in_parts():
    parts = 2
    setup = Setup(make_method("supervised"), accumulation=parts)
    state, batch = setup.state(), make_batch(setup.method, rows=2, size=1)
    model = small(jax.random.key(0), dtype=jnp.float32)
    nnx.update(model, state.weights.params)
    expected = np.ones(12)
    for part in range(parts):
        images = batch["labeled"]["image"][part::parts]
        features = np.asarray(model.backbone(normalize(images)))
        assert len(features) == 2
        expected = 0.9 * expected + 0.1 * features.var(axis=(0, 1, 2), ddof=1)
    state, _ = setup.step(state, batch)
    np.testing.assert_allclose(state.weights.stats["norm"]["var"], expected, rtol=1e-4)
