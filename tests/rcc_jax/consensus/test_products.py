"""Both products have the same gradient; the plain one also has forward derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from rcc_jax import consensus
from rcc_jax.consensus.products import multiply, multiply_for_gradient


def test_gradients_of_both_products_agree():
    rng = np.random.default_rng(0)
    matrix, values = rng.normal(size=(3, 5)), jnp.asarray(rng.normal(size=(5, 2, 4)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(3, 2, 4)), jnp.float32)
    gradients = [
        jax.grad(lambda x, f=product: jnp.sum(jnp.sin(f(matrix, x)) * weights))(values)
        for product in (multiply, multiply_for_gradient)
    ]
    np.testing.assert_allclose(*gradients, rtol=1e-5)


def test_the_consensus_has_derivatives_forward():
    logits = jnp.array([2.0, 0.5, 1.0, -1.0])
    forward = jax.jacfwd(consensus.class_consensus)(logits)
    np.testing.assert_allclose(forward, jax.jacrev(consensus.class_consensus)(logits), atol=1e-6)
