"""Small networks with weights drawn by numpy: building one compiles nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rcc_jax.models import DeepLabV3Plus

SMALL = {"num_classes": 5, "backbone": "resnet10", "width": 8, "decoder_channels": 32}


def draw(path, leaf, rng):
    name = path[-1].key
    if name in ("scale", "var"):
        value = rng.uniform(0.5, 1.5, leaf.shape)
    elif name == "kernel":
        value = rng.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:3]))
    else:
        value = 0.1 * rng.standard_normal(leaf.shape)
    return jnp.asarray(value, leaf.dtype)


@functools.cache
def drawn(seed, double, **arguments):
    """Graph definition and values; `double` only tells runs with jax_enable_x64 apart."""
    abstract = nnx.eval_shape(lambda: DeepLabV3Plus(**SMALL | arguments, rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(abstract)
    rng = np.random.default_rng(seed)
    values = jax.tree_util.tree_map_with_path(
        lambda path, leaf: draw(path, leaf, rng), nnx.to_pure_dict(state)
    )
    return graphdef, values


def build(seed=0, **arguments):
    """A network with random weights, statistics away from 0 and 1 as after training."""
    return nnx.merge(*drawn(seed, jax.config.jax_enable_x64, **arguments))


@pytest.fixture
def make_model():
    """Builds a small network: `make_model(seed=0, **arguments of DeepLabV3Plus)`."""
    return build


@pytest.fixture
def images():
    """Two normalised images of odd size, [2, 33, 47, 3]."""
    return jnp.asarray(np.random.default_rng(7).standard_normal((2, 33, 47, 3)), jnp.float32)
