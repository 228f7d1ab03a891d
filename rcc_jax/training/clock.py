"""Rates of training: steps a second and the share of time spent waiting for input."""

import contextlib
import time


class StepClock:
    """Rates since the last line of the log, without the evaluations in between."""

    def __init__(self, start_step: int):
        self._step = start_step
        self._since = time.monotonic()
        self._waited = 0.0

    @contextlib.contextmanager
    def waiting(self):
        """Counts the time inside as waiting for input."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    @contextlib.contextmanager
    def paused(self):
        """Does not count the time inside."""
        start = time.monotonic()
        yield
        self._since += time.monotonic() - start

    def lap(self, step: int, batch_size: int) -> dict[str, float]:
        """Steps and unlabelled images a second, and the share of time spent waiting for input."""
        elapsed = max(time.monotonic() - self._since, 1e-9)
        steps = step - self._step
        timing = {
            "steps_per_second": steps / elapsed,
            "images_per_second": steps * batch_size / elapsed,
            "wait_share": self._waited / elapsed,
        }
        self._step, self._since, self._waited = step, time.monotonic(), 0.0
        return timing
