"""The folder of one run: its lock, its recorded configuration and the paths of its files."""

import fcntl
import fnmatch
import json
import math
import os
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from input_pipeline.files import write_atomically
from rcc_jax.config import schema
from rcc_jax.config.recorded import flatten, nest, recorded_fields, values_before
from rcc_jax.errors import ConfigError
from rcc_jax.workdir.best_scores import BestScores

# File that marks a finished run.
RESULT = "result.json"
# Fields that cannot change what a run computes.
MAY_CHANGE = schema.matching(lambda option: option.may_change)


def run_name(config: str) -> str:
    """Default name of a run's folder: the name and arguments of its configuration.

    Args:
        config: FILE[:ARGUMENTS], as --config takes it.
    """
    file, _, arguments = config.partition(":")
    name = pathlib.Path(file).stem
    return name + "-" + arguments.replace("/", "_") if arguments else name


def evaluation_name(step: int, images: str = "") -> str:
    """Name of the file with the scores of `--mode=eval`.

    Args:
        step: Step of the checkpoint.
        images: The list of images that it was scored on; '' = the validation images.
    """
    return f"evaluation_{step}{f'_{pathlib.Path(images).stem}' if images else ''}.json"


class Workdir:
    """The folder of one run, held by one process at a time.

    Open it with `Workdir.open`. The lock ends with its process, so a killed run leaves none.
    """

    def __init__(self, path: pathlib.Path, lock: int | None, added: Mapping[str, Any]):
        self.path = path
        # Fields that the recorded configuration lacked, with their values; now it has them.
        self.added = added
        self._lock = lock

    @classmethod
    def open(
        cls,
        path: str | os.PathLike,
        config: Mapping[str, Any],
        *,
        may_change: Sequence[str] = MAY_CHANGE,
        read_only: bool = False,
        way_out: str = "",
    ) -> "Workdir":
        """Takes the folder for a new run, or for resuming the run that it holds.

        Args:
            path: The folder; made if absent.
            config: The whole configuration as nested mappings of plain values.
            may_change: Dotted fields, or patterns such as 'eval.*', that may differ from the
                recorded configuration.
            read_only: Make, lock and write nothing, so that a run may continue meanwhile.
            way_out: What to do if the configuration differs; '' = the advice for training.

        Returns:
            The open folder; close it, or use it in a `with` block.

        Raises:
            ConfigError: If the folder cannot be used, another process holds it, or its run has
                another configuration.
        """
        path = pathlib.Path(path).absolute()
        if read_only:
            if not path.is_dir():
                raise ConfigError(f"--workdir={path}: there is no such folder; train first")
            lock = None
        else:
            lock = _make_and_lock(path)
        try:
            added = _record_or_compare(
                path / "config.json", config, may_change, write=not read_only, way_out=way_out
            )
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise
        return cls(path, lock, added)

    @property
    def config_path(self) -> pathlib.Path:
        """The configuration of the run, as JSON."""
        return self.path / "config.json"

    @property
    def metrics_path(self) -> pathlib.Path:
        """One JSON object per line, equal for interrupted and uninterrupted runs."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints_path(self) -> pathlib.Path:
        """One folder per kept step."""
        return self.path / "checkpoints"

    @property
    def pictures_path(self) -> pathlib.Path:
        """Picture sheets."""
        return self.path / "pictures"

    @property
    def result_path(self) -> pathlib.Path:
        """The result of the run as JSON; exists only once it has finished."""
        return self.path / RESULT

    def write_result(self, step: int, last: float | None, scores: BestScores) -> None:
        """Marks the run as finished.

        Args:
            step: The last step.
            last: mIoU of the last evaluation in percent; None or nan if no class had a pixel.
            scores: The best evaluations. The run's best is that of the last evaluation's protocol.
        """
        protocol = scores.last_protocol
        result = {
            "step": step,
            "miou": None if last is None or math.isnan(last) else last,
            "best_miou": scores.of(protocol)[1],
            "protocol": protocol,
        }
        others = {
            name: {"step": at, "miou": score}
            for name, (at, score) in scores.best.items()
            if name != protocol
        }
        if others:
            result["best_of_other_protocols"] = others
        write_atomically(self.result_path, json.dumps(result) + "\n")

    def close(self) -> None:
        """Lets another process take the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "Workdir":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_place(path: str | os.PathLike) -> None:
    """Refuses a path that cannot be the folder of a run, without making anything.

    Args:
        path: The folder, which may be absent.

    Raises:
        ConfigError: If it is a file, or lies in a folder without write permission.
    """
    path = pathlib.Path(path).absolute()
    # Not Path.exists, which raises if a parent folder is not readable.
    there = next(each for each in (path, *path.parents) if os.path.exists(each))
    if not there.is_dir():
        raise ConfigError(
            f"--workdir={path}: {there} is a file; name a new folder or that of a run."
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"--workdir={path}: no permission to write to {there}; name another folder."
        )


def _make_and_lock(path: pathlib.Path) -> int:
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(
            f"--workdir={path}: cannot write there ({error.strerror}); name a folder that you may "
            "write to"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode().strip() or "unknown"
        os.close(lock)
        raise ConfigError(
            f"--workdir={path}: in use by another run (process {holder}); wait for it, stop it, or "
            "use another --workdir"
        ) from None
    except OSError as error:
        os.close(lock)
        raise ConfigError(
            f"--workdir={path}: this file system refuses locks ({error.strerror}); use a --workdir "
            "on another one"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _record_or_compare(
    path: pathlib.Path,
    config: Mapping[str, Any],
    may_change: Sequence[str],
    *,
    write: bool,
    way_out: str,
) -> dict[str, Any]:
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    recorded = recorded_fields(path.parent)
    if recorded is None:
        if write:
            write_atomically(path, text)
        return {}
    # Through JSON, which records a tuple as a list.
    given = flatten(json.loads(text))
    added = {field: x for field, x in values_before(recorded).items() if field in given}
    recorded |= added
    absent = "(absent)"
    changed = [
        field
        for field in sorted(recorded.keys() | given.keys())
        if recorded.get(field, absent) != given.get(field, absent)
        and not any(fnmatch.fnmatchcase(field, pattern) for pattern in may_change)
    ]
    if changed:
        lines = [
            f"  {field}: {_show(recorded.get(field, absent))} -> {_show(given.get(field, absent))}"
            for field in changed
        ]
        raise ConfigError(
            f"--workdir={path.parent} holds a run with another config:\n"
            + "\n".join([*lines, way_out or _ways_out(path.parent, recorded, changed)])
        )
    if added and write:
        # Record them, so that a later version cannot take other values for absent fields.
        text = json.dumps(nest(recorded), indent=2, sort_keys=True) + "\n"
        write_atomically(path, text)
    return added


def _ways_out(folder: pathlib.Path, recorded: Mapping[str, Any], changed: Sequence[str]) -> str:
    """What a user can do if the configuration differs from that of the run."""
    way_back = "set these fields back."
    if recorded.keys() >= set(changed):
        flags = " ".join(_flag(field, recorded[field]) for field in changed)
        way_back = f"resume that run by adding\n  {flags}"
    text = f"Use another --workdir for this config, or {way_back}"
    if {"train.num_steps", "train.num_epochs"} & set(changed):
        flag = _flag("model.pretrained", str(folder))
        text += (
            "\nThe learning rate of a step depends on the number of steps, so a run cannot become "
            "longer. To start a new run from its weights, give another --workdir and"
            f"\n  {flag}"
        )
    return text


def _flag(field: str, value: Any) -> str:
    """A recorded value as an argument for a shell."""
    if isinstance(value, list):
        plain = value and all(str(x).isidentifier() or isinstance(x, int | float) for x in value)
        value = ",".join(map(str, value)) if plain else tuple(value)
    return f"--config.{field}={shlex.quote(str(value))}"


def _show(value: Any) -> str:
    return value if value == "(absent)" else json.dumps(value)
