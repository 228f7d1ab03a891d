"""A state of a few numbers, for tests of checkpoints."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rcc_jax.distributed.meshes import make_mesh, replicated


@flax.struct.dataclass
class State:
    step: jax.Array
    params: dict
    ema: dict | None
    opt_state: optax.OptState
    rng: jax.Array


def make_state(step, size=4, mesh=None):
    params = {
        "blocks": {0: {"kernel": jnp.full((size, size), step + 0.1)}},
        "b": jnp.ones(3) * step,
    }
    state = State(
        step=jnp.int32(step),
        params=params,
        ema={"half": jnp.full(5, step, jnp.bfloat16)},
        opt_state=optax.sgd(optax.linear_schedule(0.1, 0, 9), momentum=0.9).init(params),
        rng=jax.random.key(step),
    )
    return jax.device_put(state, replicated(mesh or make_mesh()))


def abstract(state, mesh=None):
    sharding = replicated(mesh or make_mesh())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


def steps_on_disk(path):
    return {int(entry.name) for entry in path.iterdir() if entry.name.isdecimal()}
