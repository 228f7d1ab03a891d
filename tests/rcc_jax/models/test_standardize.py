"""Normalisation by the statistics of a batch: its gradient by hand against JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rcc_jax.models.standardize import EPSILON, last_axis, standardize


def plain(x, scale, bias):
    """As the equations are written; JAX makes the derivative."""
    wide = x.astype(scale.dtype)
    mean = jnp.mean(wide, axis=(0, 1, 2))
    var = jnp.mean((wide - last_axis(mean)) ** 2, axis=(0, 1, 2))
    unit = (wide - last_axis(mean)) / last_axis(jnp.sqrt(var + EPSILON))
    return unit * last_axis(scale) + last_axis(bias), mean, var


def problem(dtype, offset):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(offset, 0.5, (2, 5, 4, 3)), dtype)
    inner = jnp.promote_types(dtype, jnp.float32)
    scale, bias = jnp.asarray(rng.normal(size=(2, 3)), inner)
    weights = [jnp.asarray(rng.normal(size=shape), inner) for shape in (x.shape, 3, 3)]
    return (x, scale, bias), weights


def values_and_gradients(function, arguments, weights):
    def total(*arguments):
        results = function(*arguments)
        return sum(jnp.sum(a * b) for a, b in zip(weights, results, strict=True)), results

    run = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))
    (_, results), gradients = run(*arguments)
    return results, gradients


@pytest.mark.parametrize(
    ("dtype", "offset", "tolerance"),
    [
        (jnp.float64, 0.0, 1e-12),
        (jnp.float64, 100.0, 1e-11),
        (jnp.float32, 0.0, 1e-5),
        # The mean is twenty standard deviations away.
        (jnp.float32, 10.0, 1e-4),
        (jnp.bfloat16, 0.0, 1e-2),
    ],
)
def test_gradients_of_results_and_statistics_are_those_of_jax(dtype, offset, tolerance):
    """Also of the mean and the variance, which no method uses yet."""
    with jax.enable_x64(dtype == jnp.float64):
        arguments, weights = problem(dtype, offset)
        found = values_and_gradients(standardize, arguments, weights)
        expected = values_and_gradients(plain, arguments, weights)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == theirs.dtype
        ours, theirs = (np.asarray(each, np.float64) for each in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_backward_pass_keeps_the_input_once_and_in_its_own_type(dtype):
    (x, scale, bias), _ = problem(dtype, 0.0)
    _, backward = jax.vjp(standardize, x, scale, bias)
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(backward))
    assert x.nbytes <= kept < 1.5 * x.nbytes


def temporary_bytes(normalize):
    """What XLA plans for the gradient of six layers: a product, normalisation and a ReLU each."""

    def loss(kernels, scale, x):
        for kernel in kernels:
            x = nnx.relu(normalize(x @ kernel, scale, scale)[0])
        return jnp.sum(x**2)

    arrays = jnp.ones((6, 32, 32)), jnp.ones(32), jnp.ones((2, 32, 32, 32))
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*arrays).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_a_training_step_plans_less_memory_than_with_the_derivative_of_jax():
    """The compiler would undo it if the backward pass could be begun early."""
    assert temporary_bytes(standardize) < 0.65 * temporary_bytes(plain)
