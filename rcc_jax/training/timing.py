"""Time and memory of training steps: rates, the wait for input, and the compilation."""

import contextlib
import ctypes
import time
from collections.abc import Callable
from typing import Any

import jax

PyTree = Any


class StepClock:
    """Measures rates since the last line of the log, excluding evaluations."""

    def __init__(self, start_step: int):
        self._step = start_step
        self._since = time.monotonic()
        self._waited = 0.0

    @contextlib.contextmanager
    def waiting(self):
        """Counts the time inside the context as waiting for input."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    @contextlib.contextmanager
    def paused(self):
        """Excludes the time inside the context."""
        start = time.monotonic()
        yield
        self._since += time.monotonic() - start

    def lap(self, step: int, batch_size: int) -> dict[str, float]:
        """Steps and images per second, and the share of time spent on input.

        Images are those of `batch_size`: for methods with unlabelled images these, without the
        labelled ones of the same step.
        """
        elapsed = max(time.monotonic() - self._since, 1e-9)
        steps = step - self._step
        timing = {
            "steps_per_second": steps / elapsed,
            "images_per_second": steps * batch_size / elapsed,
            "wait_share": self._waited / elapsed,
        }
        self._step, self._since, self._waited = step, time.monotonic(), 0.0
        return timing


def compile_step(step: Callable, state: PyTree, batch: PyTree) -> tuple[Callable, str]:
    """Compiles a jitted step, or finds it in the compilation cache.

    Args:
        step: Jitted function from state and batch to the next state and scalars.
        state: A state with the shapes and the devices of all later ones.
        batch: A batch with the shapes and the devices of all later ones.

    Returns:
        The compiled step, and a line of text on the time and memory it takes.
    """
    start = time.monotonic()
    compiled = step.lower(state, batch).compile()
    return_freed_memory()
    line = f"training step ready after {time.monotonic() - start:.0f} s"
    if (needed := estimated_bytes(compiled)) is not None:
        held, temporary = needed
        line += (
            f"; it takes about {_gibibytes(held + temporary)} of memory on each device: state and "
            f"batch {_gibibytes(held)}, temporary {_gibibytes(temporary)}"
        )
    return compiled, line


def return_freed_memory() -> None:
    """Gives what this process has freed back to the system, where the C library can (glibc).

    Compiling a ResNet-50's step leaves a gigabyte that glibc would hold as long as the process.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def estimated_bytes(compiled: jax.stages.Compiled) -> tuple[int, int] | None:
    """Bytes that XLA plans per device: (inputs and outputs, temporary), or None if unknown.

    Queued batches and the compiled program itself need memory in addition.
    """
    memory = compiled.memory_analysis()
    if memory is None:
        return None
    # An output in the buffer of a donated input is counted with both.
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return held, memory.temp_size_in_bytes


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
