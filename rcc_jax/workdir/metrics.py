"""What a run reports: metrics.jsonl, timing.jsonl, TensorBoard events and its progress."""

import io
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np

from input_pipeline.files import write_atomically
from rcc_jax.workdir.best_scores import BestScores
from rcc_jax.workdir.event_files import TensorBoard

Scalars = Mapping[str, Any]
# Of events and timing.jsonl together. Below 50 MiB, which leaves room for a list of bad files.
MAX_BYTES = 48 * 2**20
_TIMING_SHARE = 1 / 6


class MetricWriter:
    """Writes the numbers of a run as they come.

    metrics.jsonl holds only what the config determines, so that an interrupted run ends with the
    bytes of an uninterrupted one; what the clock determines goes to timing.jsonl. metrics.jsonl is
    never cut; of timing.jsonl and the events the oldest go where they would grow too large.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        start_step: int,
        total_steps: int,
        old_protocol: str = "",
        tensorboard: bool = True,
        enabled: bool = True,
        max_bytes: int = MAX_BYTES,
    ):
        """Drops what was written past the step that a run goes on from.

        Args:
            path: The run's folder.
            start_step: The last step that is done; 0 for a new run.
            total_steps: The last step there will be; later ones are refused.
            old_protocol: What evaluations were made with whose lines do not name a 'protocol'.
            tensorboard: Whether to write events into the folder's `tensorboard` too.
            enabled: Whether to touch the folder at all; False in all processes but one.
            max_bytes: What timing.jsonl and the events may hold together.
        """
        path, self._enabled = pathlib.Path(path), enabled
        self._timing_path = path / "timing.jsonl"
        self._timing_bytes = int(_TIMING_SHARE * max_bytes)
        self._total_steps = total_steps
        self._old_protocol = old_protocol
        self._evaluations: dict[int, Scalars] = {}
        entries, self._metrics = self._reopen(path / "metrics.jsonl", start_step)
        for entry in entries:
            self._note_evaluation(entry)
        _, self._timing = self._reopen(self._timing_path, start_step)
        self._events = None
        if tensorboard and enabled:
            self._events = TensorBoard(
                path / "tensorboard",
                start_step=start_step,
                max_bytes=max_bytes - self._timing_bytes,
            )

    def _reopen(self, path: pathlib.Path, start_step: int) -> tuple[list[dict], TextIO]:
        if self._enabled:
            return reopen_lines(path, start_step)
        return [], open(os.devnull, "a", encoding="utf-8")

    def write(self, step: int, scalars: Scalars) -> None:
        """Appends a line to metrics.jsonl.

        Args:
            step: From 1 on.
            scalars: Numbers, or mappings of names to numbers; one that is nan or infinite is
                written as null, since JSON has no word for it. Of an evaluation also 'protocol',
                the name of how it was made.
        """
        if step > self._total_steps:
            raise ValueError(f"step {step} is past the last one, {self._total_steps}")
        self._note_evaluation(self._append(self._metrics, step, scalars))

    def timing(self, step: int, scalars: Scalars) -> None:
        """Appends a line to timing.jsonl: rates, shares of waiting, memory."""
        self._append(self._timing, step, scalars)
        if self._enabled and self._timing.tell() > self._timing_bytes:
            self._timing.close()
            self._timing = _drop_oldest(self._timing_path, self._timing_bytes // 2)

    def _note_evaluation(self, entry: Scalars) -> None:
        if "miou" in entry:
            self._evaluations[entry["step"]] = entry

    def _append(self, file: TextIO, step: int, scalars: Scalars) -> dict[str, Any]:
        entry = {"step": step, **{name: _plain(value) for name, value in scalars.items()}}
        # One write of a whole line, so that a kill leaves the line or nothing.
        file.write(json.dumps(entry, allow_nan=False) + "\n")
        file.flush()
        if self._events is not None:
            numbers = {
                name: value
                for name, value in _flat(entry)
                if value is not None and name not in ("step", "protocol")
            }
            self._events.scalars(step, numbers)
        return entry

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """Shows a picture [H, W, 3] of uint8 in TensorBoard."""
        if self._events is not None:
            self._events.image(step, name, picture)

    def has_evaluation(self, step: int) -> bool:
        """Whether metrics.jsonl holds an evaluation, a line with 'miou', of this step."""
        return step in self._evaluations

    def evaluation_before(self, step: int, protocol: str) -> Scalars | None:
        """The line of a protocol's last evaluation before a step; None where there is none."""
        earlier = [each for each in self._evaluations if each < step]
        earlier = [each for each in earlier if self.protocol(each) == protocol]
        return self._evaluations[max(earlier)] if earlier else None

    def protocol(self, step: int) -> str:
        """What the evaluation of a step was made with."""
        return self._evaluations[step].get("protocol", self._old_protocol)

    def evaluation_score(self, step: int) -> float | None:
        """The 'miou_ema' of this step's evaluation, else its 'miou'; None where there is none."""
        entry = self._evaluations.get(step, {})
        return entry.get("miou_ema", entry.get("miou"))

    def best_scores(self) -> BestScores:
        """The best `evaluation_score` of each protocol."""
        scores = BestScores()
        for step in sorted(self._evaluations):
            scores.note(step, self.protocol(step), self.evaluation_score(step))
        return scores

    @property
    def evaluation_scores(self) -> dict[int, float | None]:
        """The `evaluation_score` of every step that has an evaluation."""
        return {step: self.evaluation_score(step) for step in self._evaluations}

    def close(self) -> None:
        """Puts everything on disk."""
        for file in (self._metrics, self._timing):
            file.close()
        if self._events is not None:
            self._events.close()

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def reopen_lines(path: pathlib.Path, start_step: int) -> tuple[list[dict[str, Any]], TextIO]:
    """Opens a file of JSON lines to write on, without what is past a step.

    Args:
        path: The file; made where it is absent.
        start_step: The last step whose lines stay.

    Returns:
        The entries that stay, and the file, open for appending.
    """
    content = path.read_bytes() if path.exists() else b""
    entries, kept = [], []
    for line in io.BytesIO(content):
        entry = _parse(line)
        # Steps only grow; and past a torn line nothing can be trusted.
        if entry is None or entry["step"] > start_step:
            break
        entries.append(entry)
        kept.append(line)
    remaining = b"".join(kept)
    if remaining != content:
        write_atomically(path, remaining)
    return entries, open(path, "a", encoding="utf-8")


def _drop_oldest(path: pathlib.Path, max_bytes: int) -> TextIO:
    """Keeps the newest lines of a file, in so many bytes, and opens it for appending."""
    # The first of the last bytes belong to a line that is cut.
    newest = path.read_bytes()[-max_bytes:].partition(b"\n")[2]
    write_atomically(path, newest)
    return open(path, "a", encoding="utf-8")


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("step"), int) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    value = np.asarray(value).item() if value is not None else None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat(entry: Scalars) -> list[tuple[str, Any]]:
    flat = []
    for name, value in entry.items():
        if isinstance(value, Mapping):
            flat.extend((f"{name}/{inner}", each) for inner, each in value.items())
        else:
            flat.append((name, value))
    return flat


class Progress:
    """How far a run is: a bar on a terminal, a plain line a log elsewhere."""

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
            unit: What a step is called.
            enabled: Whether to write at all.
        """
        self._unit, self._enabled, self._now = unit, enabled, ""
        self._stream = stream or sys.stdout
        self._total, self._start = total_steps, start_step
        self._clock = time.monotonic()
        # The first update carries the compilation: it does not count for the time left.
        self._first: tuple[int, float] | None = None
        self._bar = None
        if enabled and self._stream.isatty():
            from tqdm import tqdm  # only where there is a terminal to draw on

            self._bar = tqdm(
                total=total_steps,
                initial=start_step,
                file=self._stream,
                unit=unit,
                dynamic_ncols=True,
            )

    def update(self, step: int, scalars: Mapping[str, float] | None = None) -> None:
        """Shows that a step is done, and its numbers.

        Args:
            step: The step.
            scalars: Numbers to show by name: losses, ratios and shares in [0, 1]. Without them
                only the bar moves.
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

    def describe(self, text: str) -> None:
        """Says what is being done now, in front of the bar or of the next lines."""
        self._now = f"{text}: "
        if self._bar is not None:
            self._bar.set_description_str(text)

    def message(self, text: str) -> None:
        """Writes a line of its own, above the bar where there is one."""
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _brief(value: float) -> str:
    return f"{float(value):.4g}"
