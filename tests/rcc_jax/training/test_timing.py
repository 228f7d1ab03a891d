"""The line on a compiled step."""

import pathlib
import platform
import re
import resource

import jax
import jax.numpy as jnp
import pytest

from rcc_jax.training.timing import compile_step, estimated_bytes, return_freed_memory

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_memory_that_was_freed_is_returned():
    def resident():
        pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    blocks = [bytes(1000) for _ in range(200_000)]
    # Every hundredth stays, so that no page range ends free and goes back by itself.
    kept = blocks[::100]
    before = resident()
    del blocks
    return_freed_memory()
    assert before - resident() > 100e6
    assert len(kept) == 2000
