"""Batch normalisation by the statistics of the batch, with a gradient that keeps only its input."""

import math

import jax
import jax.numpy as jnp

EPSILON = 1e-5


def last_axis(channels: jax.Array) -> jax.Array:
    """[C] to [1, 1, 1, C]."""
    return channels.reshape(1, 1, 1, -1)


@jax.custom_vjp
def standardize(
    x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises each channel by its mean and biased variance over batch and space.

    The derivative that JAX makes of it keeps x minus its mean beside x for the backward pass. This
    one keeps x, in its own type, and the statistics.

    Args:
        x: [B, H, W, C].
        scale: [C], in the type of the arithmetic and of the results.
        bias: [C].

    Returns:
        (x - mean) / sqrt(variance + 1e-5) * scale + bias, mean [C] and variance [C].

    References:
        Ioffe and Szegedy, "Batch Normalization", ICML 2015: algorithm 1, and the gradients of
        section 3.
    """
    wide = x.astype(scale.dtype)
    mean = jnp.mean(wide, axis=(0, 1, 2))
    # Not E[x^2] - E[x]^2, which cancels if the mean is large.
    var = jnp.mean(jnp.square(wide - last_axis(mean)), axis=(0, 1, 2))
    factor = jax.lax.rsqrt(var + EPSILON) * scale
    return (wide - last_axis(mean)) * last_axis(factor) + last_axis(bias), mean, var


def _forward(x, scale, bias):
    y, mean, var = standardize(x, scale, bias)
    return (y, mean, var), (x, scale, mean, var)


def _backward(kept, gradients):
    x, scale, mean, var = kept
    of_y, of_mean, of_var = gradients
    count = math.prod(x.shape[:3])
    inverse = jax.lax.rsqrt(var + EPSILON)
    wide = x.astype(scale.dtype)
    # Everything is a sum over x or linear in x: with (x - mean) * inverse as an array, the compiler
    # would make it early and hold it until it is needed here.
    of_bias = jnp.sum(of_y, axis=(0, 1, 2))
    of_scale = jnp.sum(of_y * wide, axis=(0, 1, 2)) * inverse - of_bias * mean * inverse
    slope = (2 * of_var - scale * inverse**2 * of_scale) / count
    constant = (of_mean - scale * inverse * of_bias) / count - slope * mean
    of_x = of_y * last_axis(scale * inverse) + wide * last_axis(slope) + last_axis(constant)
    return of_x.astype(x.dtype), of_scale, of_bias


standardize.defvjp(_forward, _backward)
