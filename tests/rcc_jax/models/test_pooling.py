"""Max pooling: values at the border, and a gradient that goes to the first of equal maxima."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.models.pooling import max_pool


@pytest.mark.parametrize("size", [(6, 7), (7, 6), (1, 2)])
def test_values_and_gradients_window_by_window(size):
    """Negative values stay negative at the border: the padding is -inf, not 0."""
    x = np.random.default_rng(0).integers(-5, -1, (2, *size, 3)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)), constant_values=-np.inf)
    half = [(side + 1) // 2 for side in size]
    expected = np.zeros((2, *half, 3), np.float32)
    dy = 1 + np.arange(expected.size, dtype=np.float32).reshape(expected.shape)
    gradient = np.zeros_like(padded)
    for image, i, j, channel in np.ndindex(expected.shape):
        window = padded[image, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3, channel]
        row, column = np.unravel_index(window.argmax(), (3, 3))
        expected[image, i, j, channel] = window[row, column]
        gradient[image, 2 * i + row, 2 * j + column, channel] += dy[image, i, j, channel]
    y, pull_back = jax.vjp(jax.jit(max_pool), jnp.asarray(x))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(*pull_back(dy), gradient[:, 1:-2, 1:-2])


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_a_cpu_pools_axis_by_axis(monkeypatch, platform):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    program = jax.jit(lambda x: max_pool(x)).lower(jnp.zeros((1, 8, 8, 2))).as_text()
    assert ("reduce_window" in program) == (platform == "gpu")
