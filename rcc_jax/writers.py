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
import tensorboardX

from rcc_jax.workdir import write_atomically

Scalars = Mapping[str, Any]


class MetricWriter:
    """Writes the numbers of a run as they come.

    metrics.jsonl holds only what the config determines, so that an interrupted run ends with the
    bytes of an uninterrupted one; what the clock determines goes to timing.jsonl.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        start_step: int,
        total_steps: int,
        tensorboard: bool = True,
        enabled: bool = True,
    ):
        """Drops what was written past the step that a run goes on from.

        Args:
            path: The run's folder.
            start_step: The last step that is done; 0 for a new run.
            total_steps: The last step there will be; later ones are refused.
            tensorboard: Whether to write events into the folder's `tensorboard` too.
            enabled: Whether to touch the folder at all; False in all processes but one.
        """
        path, tensorboard = pathlib.Path(path), tensorboard and enabled
        self._enabled = enabled
        self._total_steps = total_steps
        self._evaluations: dict[int, Scalars] = {}
        entries, self._metrics = self._reopen(path / "metrics.jsonl", start_step)
        for entry in entries:
            self._note_evaluation(entry)
        _, self._timing = self._reopen(path / "timing.jsonl", start_step)
        self._events = None
        if tensorboard:
            self._events = tensorboardX.SummaryWriter(
                str(path / "tensorboard"),
                purge_step=start_step + 1,
                flush_secs=30,
                # Names go by the second: a quick restart would overwrite the last file.
                filename_suffix=f".after_{start_step}",
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
                written as null, since JSON has no word for it.
        """
        if step > self._total_steps:
            raise ValueError(f"step {step} is past the last one, {self._total_steps}")
        self._note_evaluation(self._append(self._metrics, step, scalars))

    def timing(self, step: int, scalars: Scalars) -> None:
        """Appends a line to timing.jsonl: rates, shares of waiting, memory."""
        self._append(self._timing, step, scalars)

    def _note_evaluation(self, entry: Scalars) -> None:
        if "miou" in entry:
            self._evaluations[entry["step"]] = entry

    def _append(self, file: TextIO, step: int, scalars: Scalars) -> dict[str, Any]:
        entry = {"step": step, **{name: _plain(value) for name, value in scalars.items()}}
        # One write of a whole line, so that a kill leaves the line or nothing.
        file.write(json.dumps(entry, allow_nan=False) + "\n")
        file.flush()
        if self._events is not None:
            for name, value in _flat(entry):
                if value is not None and name != "step":
                    self._events.add_scalar(name, value, step)
        return entry

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """Shows a picture [H, W, 3] of uint8 in TensorBoard."""
        if self._events is not None:
            self._events.add_image(name, picture, step, dataformats="HWC")

    def has_evaluation(self, step: int) -> bool:
        """Whether metrics.jsonl holds an evaluation, a line with 'miou', of this step."""
        return step in self._evaluations

    def evaluation_before(self, step: int) -> Scalars | None:
        """The line of the last evaluation before this step; None where there is none."""
        earlier = [known for known in self._evaluations if known < step]
        return self._evaluations[max(earlier)] if earlier else None

    def evaluation_score(self, step: int) -> float | None:
        """The 'miou_ema' of this step's evaluation, else its 'miou'; None where there is none."""
        entry = self._evaluations.get(step, {})
        return entry.get("miou_ema", entry.get("miou"))

    @property
    def evaluation_scores(self) -> dict[int, float | None]:
        """The `evaluation_score` of every step that has an evaluation."""
        return {step: self.evaluation_score(step) for step in self._evaluations}

    @property
    def best_score(self) -> float | None:
        """The highest `evaluation_score`; None where there is none."""
        scores = self.evaluation_scores.values()
        return max((score for score in scores if score is not None), default=None)

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
