"""A DINOv2 with its head that is small enough for tests, with weights drawn by numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rcc_jax.models.dinov2 import Size
from rcc_jax.models.dinov2_dpt import DinoV2DPT

NUM_CLASSES = 5
SIZE = Size(24, 4, 3, (0, 1, 2, 3), 8, (4, 6, 8, 10), side=5)


@functools.cache
def _drawn(seed, double, arguments):
    arguments = {"num_classes": NUM_CLASSES, "size": SIZE, **dict(arguments)}
    abstract = nnx.eval_shape(lambda: DinoV2DPT(**arguments, rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(abstract)
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        scale = 0.5 if len(leaf.shape) == 1 or name.endswith("embed") else 1.0
        if name == "kernel":
            scale = 1 / np.sqrt(np.prod(leaf.shape[:-1]))
        center = 1.0 if name in ("scale", "ls1", "ls2") else 0.0
        return jnp.asarray(center + scale * rng.standard_normal(leaf.shape), leaf.dtype)

    return graphdef, jax.tree_util.tree_map_with_path(draw, nnx.to_pure_dict(state))


def build(seed=0, **arguments):
    """A network with random weights; arguments of DinoV2DPT."""
    return nnx.merge(*_drawn(seed, jax.config.jax_enable_x64, tuple(arguments.items())))
