"""The line on a compiled step."""

import re

import jax
import jax.numpy as jnp

from rcc_jax.training.timing import compile_step, estimated_bytes

MIB = 2**20


def test_memory_counts_a_donated_state_once():
    def step(state, batch):
        return state + batch.sum(), jnp.sort(state + batch[0])[0]

    state, batch = jnp.zeros(MIB), jnp.zeros((2, MIB))  # 4 and 8 MiB.
    compiled, line = compile_step(jax.jit(step, donate_argnums=0), state, batch)
    held, temporary = estimated_bytes(compiled)
    assert abs(held - 12 * MIB) < 1000
    # At least what is sorted.
    assert 4 * MIB <= temporary < 20 * MIB
    assert re.fullmatch(
        r"training step ready after \d+ s; it takes about 0\.0\d GiB of memory on each device: "
        r"state and batch 0\.01 GiB, temporary 0\.0\d GiB",
        line,
    )
    new, smallest = compiled(state, batch)
    assert (new.shape, float(smallest)) == ((MIB,), 0)
