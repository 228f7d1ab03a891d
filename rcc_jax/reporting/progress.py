"""The progress of a run on the console."""

import sys
import time
from collections.abc import Mapping
from typing import TextIO

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """The progress of a run: a bar on a terminal, elsewhere one plain line per log."""

    def __init__(
        self,
        total_steps: int,
        start_step: int,
        *,
        stream: TextIO | None = None,
        unit: str = "step",
        enabled: bool = True,
    ):
        """Starts the clock.

        Args:
            total_steps: The last step.
            start_step: The last step that is done.
            stream: Where to write; standard output by default.
            unit: The word for a step.
            enabled: Whether to write at all.
        """
        self._unit, self._enabled, self._now = unit, enabled, ""
        self._stream = stream or sys.stdout
        self._total, self._start = total_steps, start_step
        self._clock = self._last_line = time.monotonic()
        # The first steps may include preparations, so later ones are counted from there.
        self._first: tuple[int, float] | None = None
        self._bar = None
        if enabled and self._stream.isatty():
            from tqdm import tqdm  # Only needed on a terminal.

            self._bar = tqdm(
                total=total_steps,
                initial=start_step,
                file=self._stream,
                unit=unit,
                dynamic_ncols=True,
            )

    def begin(self) -> None:
        """Restarts the clock: what was done so far, such as compilation, will not be repeated."""
        self._clock = time.monotonic()

    def update(self, step: int, scalars: Mapping[str, float] | None = None) -> None:
        """Shows that a step is done, with its numbers.

        Args:
            step: The step.
            scalars: Numbers to show, by name. Without them only the bar moves.
        """
        shown = "  ".join(f"{name} {_brief(value)}" for name, value in (scalars or {}).items())
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            if shown:
                self._bar.set_postfix_str(shown)
        elif scalars is not None:
            shown = f"{shown}  " if shown else ""
            place = f"{self._now}{self._unit} {step}/{self._total}"
            self.message(f"{place}  {shown}left {self._time_left(step)}")

    def _time_left(self, step: int) -> str:
        now = time.monotonic()
        if self._first is None:
            self._first = (step, now)
            done, elapsed = step - self._start, now - self._clock
        else:
            done, elapsed = step - self._first[0], now - self._first[1]
        if done <= 0:
            return "?"
        seconds = round((self._total - step) * elapsed / done)
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

    def show(self, step: int) -> None:
        """Shows that a step is done: on the bar, elsewhere a line every ten seconds at most."""
        now = time.monotonic()
        due = step == self._total or now - self._last_line > _SECONDS_BETWEEN_LINES
        self.update(step, {} if due else None)
        if due:
            self._last_line = now

    def describe(self, text: str) -> None:
        """Sets the text in front of the bar or of the next lines: what is being done now."""
        self._now = f"{text}: "
        if self._bar is not None:
            self._bar.set_description_str(text)

    def message(self, text: str) -> None:
        """Writes a line, above the bar if there is one."""
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the bar, which stays on the terminal."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _brief(value: float) -> str:
    return f"{float(value):.4g}"
