"""The players are those of `jax.lax.top_k`, also for equal logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.consensus.players import top_classes


@pytest.mark.parametrize("count", [2, 4, 6])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_classes_are_those_of_top_k(count, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        # Few different values, so most of them occur several times.
        draws = np.random.default_rng(0).integers(0, 4, (5, 7, 6)) * 1e4
        logits = jnp.asarray(draws, dtype)
        found = jax.jit(top_classes, static_argnums=1)(logits, count)
        assert found.dtype == jnp.int32
        np.testing.assert_array_equal(found, jax.lax.top_k(logits, count)[1])
