"""The numbers that a run records: metrics.jsonl, timing.jsonl and TensorBoard events."""

import io
import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np

from input_pipeline.files import write_atomically
from rcc_jax.workdir.best_scores import BestScores
from rcc_jax.workdir.event_files import TensorBoard

Scalars = Mapping[str, Any]
# Limit on events and timing.jsonl together: with the list of bad files a run stays below 50 MiB.
MAX_BYTES = 48 * 2**20
_TIMING_SHARE = 1 / 6
# Entries of a line that are no numbers, so TensorBoard draws no curve of them.
_NO_NUMBERS = ("step", "protocol", "absent")


class MetricWriter:
    """Writes the numbers of a run as they come.

    metrics.jsonl holds only what the configuration determines, so an interrupted run ends with the
    same bytes as an uninterrupted one. What depends on the clock goes to timing.jsonl. It and the
    events lose their oldest entries when they grow too large; metrics.jsonl never does.
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
        """Drops all lines after the step that a run resumes from.

        Args:
            path: The run's folder.
            start_step: The last step that is done; 0 for a new run.
            total_steps: The last step of the run; later ones are refused.
            old_protocol: Protocol of the evaluations whose lines do not name one.
            tensorboard: Whether to write events into the folder's `tensorboard` too.
            enabled: Whether to touch the folder at all; True in one process only.
            max_bytes: Limit on the bytes of timing.jsonl and the events together.
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
            step: The step, from 1.
            scalars: Numbers, or mappings of names to numbers; nan and infinity, which JSON lacks,
                are written as null. An evaluation also has 'protocol', the name of its protocol. If
                the ground truth has no pixel of some classes, 'absent' is a tuple of their names.

        Raises:
            ValueError: If the step is after the last one.
        """
        if step > self._total_steps:
            raise ValueError(f"step {step} is after the last one, {self._total_steps}")
        self._note_evaluation(self._append(self._metrics, step, scalars))

    def timing(self, step: int, scalars: Scalars) -> None:
        """Appends a line to timing.jsonl: rates, and the share of waiting."""
        self._append(self._timing, step, scalars)
        if self._enabled and self._timing.tell() > self._timing_bytes:
            self._timing.close()
            self._timing = _drop_oldest(self._timing_path, self._timing_bytes // 2)

    def _note_evaluation(self, entry: Scalars) -> None:
        if "miou" in entry:
            self._evaluations[entry["step"]] = entry

    def _append(self, file: TextIO, step: int, scalars: Scalars) -> dict[str, Any]:
        entry = {"step": step, **{name: _plain(value) for name, value in scalars.items()}}
        # One write of a whole line, so that a killed process leaves the line or nothing.
        file.write(json.dumps(entry, allow_nan=False) + "\n")
        file.flush()
        if self._events is not None:
            numbers = {
                name: value
                for name, value in _flat(entry)
                if value is not None and name not in _NO_NUMBERS
            }
            self._events.scalars(step, numbers)
        return entry

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """Adds a picture, uint8 [H, W, 3], to TensorBoard."""
        if self._events is not None:
            self._events.image(step, name, picture)

    def has_evaluation(self, step: int) -> bool:
        """Whether metrics.jsonl has an evaluation of this step, a line with 'miou'."""
        return step in self._evaluations

    def evaluation_before(self, step: int, protocol: str) -> Scalars | None:
        """The line of a protocol's last evaluation before a step; None if there is none."""
        earlier = [each for each in self._evaluations if each < step]
        earlier = [each for each in earlier if self.protocol(each) == protocol]
        return self._evaluations[max(earlier)] if earlier else None

    def protocol(self, step: int) -> str:
        """The protocol of the evaluation of a step."""
        return self._evaluations[step].get("protocol", self._old_protocol)

    def evaluation_score(self, step: int) -> float | None:
        """'miou_ema' of this step's evaluation, or else 'miou'; None if it has no evaluation."""
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
    """Opens a file of JSON lines for appending, after dropping the lines after a step.

    Args:
        path: The file; made if absent.
        start_step: The last step whose lines stay.

    Returns:
        The entries that stay, and the open file.
    """
    content = path.read_bytes() if path.exists() else b""
    entries, kept = [], []
    for line in io.BytesIO(content):
        entry = _parse(line)
        # Steps only grow, and nothing after a torn line can be trusted.
        if entry is None or entry["step"] > start_step:
            break
        entries.append(entry)
        kept.append(line)
    remaining = b"".join(kept)
    if remaining != content:
        write_atomically(path, remaining)
    return entries, open(path, "a", encoding="utf-8")


def _drop_oldest(path: pathlib.Path, max_bytes: int) -> TextIO:
    """Keeps the newest lines of a file, at most `max_bytes`, and opens it for appending."""
    # The cut falls within a line, whose rest is dropped.
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
    if isinstance(value, tuple):
        return list(value)
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
