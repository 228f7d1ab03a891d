"""A training step, compiled before its first run: how long that took and what memory it takes."""

import time
from collections.abc import Callable
from typing import Any

import jax

PyTree = Any


def compile_step(step: Callable, state: PyTree, batch: PyTree) -> tuple[Callable, str]:
    """Compiles a jitted step, or finds it in the compilation cache.

    Args:
        step: From state and batch to the next state and scalars, jitted.
        state: Of the shapes and on the devices of every later one.
        batch: likewise.

    Returns:
        The compiled step, and a line for people on seconds and memory.
    """
    start = time.monotonic()
    compiled = step.lower(state, batch).compile()
    line = f"training step ready after {time.monotonic() - start:.0f} s"
    if (needed := estimated_bytes(compiled)) is not None:
        held, temporary = needed
        line += (
            f"; it takes about {_gibibytes(held + temporary)} of memory on each device: state and "
            f"batch {_gibibytes(held)}, temporary {_gibibytes(temporary)}"
        )
    return compiled, line


def estimated_bytes(compiled: jax.stages.Compiled) -> tuple[int, int] | None:
    """What XLA plans for a program on each device: inputs with outputs, temporary; None if unknown.

    Batches that wait for their step and the compiled program itself come on top.
    """
    memory = compiled.memory_analysis()
    if memory is None:
        return None
    # Outputs that take the place of a donated input are counted with both.
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return held, memory.temp_size_in_bytes


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
