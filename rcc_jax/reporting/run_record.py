"""The record of a run, finished or not, read from its folder without JAX."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rcc_jax.config import protocols
from rcc_jax.errors import ConfigError
from rcc_jax.reporting import run_results
from rcc_jax.workdir.folder import RESULT


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        workdir: Its folder.
        config: The configuration of its first start, nested.
        logs: Lines of metrics.jsonl on training, by 'step'.
        evaluations: Lines of metrics.jsonl with 'miou', by 'step'.
        timing: Lines of timing.jsonl.
        counts: Number of images by part.
        finished: Whether it has a result.
        environment: An entry per start with changed versions; empty if none was recorded.
        later: Evaluations with other settings, from `evaluation_<step>.json`.
        picture: Its newest sheet of predictions.
        unlabeled: Its newest sheet of unlabelled images.
    """

    workdir: pathlib.Path
    config: Mapping[str, Any]
    logs: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]]
    timing: Sequence[Mapping[str, Any]]
    counts: Mapping[str, Any]
    finished: bool
    environment: Sequence[Mapping[str, Any]]
    later: Sequence[Mapping[str, Any]]
    picture: pathlib.Path | None
    unlabeled: pathlib.Path | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.workdir.resolve().name

    @property
    def cell(self) -> str:
        """Method, backbone and partition, which are the same for runs with other seeds."""
        names = (
            run_results.method_name(self.config),
            self.config["model"]["backbone"],
            run_results.partition_name(self.config),
        )
        return "; ".join(names)

    @property
    def data(self) -> tuple[str, str, tuple[str, ...]]:
        """What must be equal for runs to be compared: data set, validation images, classes."""
        data = self.config["data"]
        iou = self.evaluations[-1]["iou"] if self.evaluations else {}
        names = tuple(data["class_names"]) or tuple(iou)
        return run_results.data_name(self.config), str(data["val"]), names

    @property
    def by_protocol(self) -> dict[str, list[Mapping[str, Any]]]:
        """The evaluations by protocol. The protocol of the last evaluation comes last."""
        groups = {}
        for line in self.evaluations:
            protocol = protocols.of_line(line, self.config)
            # Moves the protocol to the end.
            groups[protocol] = [*groups.pop(protocol, []), line]
        return groups

    @property
    def protocol(self) -> str:
        """The protocol of the last evaluation; '' if there was none."""
        return next(reversed(self.by_protocol), "")

    @property
    def steps(self) -> int:
        """The last recorded step."""
        return max((line["step"] for line in (*self.logs, *self.evaluations)), default=0)


def score(evaluation: Mapping[str, Any]) -> float | None:
    """MIoU of an evaluation: that of the EMA teacher if there is one."""
    return evaluation.get("miou_ema", evaluation["miou"])


def class_scores(evaluation: Mapping[str, Any]) -> Mapping[str, float | None]:
    """IoU by class, of the same network as `score`."""
    return evaluation.get("iou_ema", evaluation["iou"])


def absent_classes(evaluation: Mapping[str, Any]) -> Sequence[str]:
    """The classes without a pixel in the ground truth; empty for runs that did not record them."""
    return evaluation.get("absent", ())


def find(folders: Sequence[str | os.PathLike], log: Callable[[str], None]) -> list[RunRecord]:
    """Reads all runs in or below some folders.

    Args:
        folders: Workdirs, or folders of them.
        log: Called with a line of text for each run that is left out.

    Raises:
        ConfigError: A folder has no run, or a file is corrupt.
    """
    found: dict[pathlib.Path, RunRecord] = {}
    for folder in folders:
        paths = sorted(pathlib.Path(folder).glob("**/config.json"))
        if not paths:
            raise ConfigError(f"--workdir={folder}: {run_results.no_run(folder, 'run')}")
        for path in paths:
            record = read(path.parent)
            if record.steps:
                found[path.parent.resolve()] = record
            else:
                log(f"left out, nothing was logged yet: {path.parent}")
    if not found:
        raise ConfigError("none of these runs has logged anything yet; wait for the first lines.")
    return list(found.values())


def read(workdir: pathlib.Path) -> RunRecord:
    """Reads the folder of a run.

    Raises:
        ConfigError: A file is corrupt.
    """
    lines = _lines(workdir / "metrics.jsonl")
    record = RunRecord(
        workdir=workdir,
        config=_json(workdir / "config.json", {}),
        logs=[line for line in lines if "miou" not in line],
        evaluations=[line for line in lines if "miou" in line],
        timing=_lines(workdir / "timing.jsonl"),
        counts=_json(workdir / "data.json", {}),
        finished=(workdir / RESULT).exists(),
        environment=_json(workdir / "environment.json", []),
        later=[_json(path, {}) for path in sorted(workdir.glob("evaluation_*.json"))],
        picture=_latest(workdir, "step_*.png"),
        unlabeled=_latest(workdir, "unlabeled_*.png"),
    )
    try:
        _ = record.cell, record.data, record.config["seed"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{workdir}/config.json is not the configuration of a run ({error!r})."
        ) from None
    return record


def _latest(workdir: pathlib.Path, names: str) -> pathlib.Path | None:
    return max((workdir / "pictures").glob(names), default=None)


def _json(path: pathlib.Path, absent: Any) -> Any:
    if not path.exists():
        return absent
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"{path} is corrupt ({error}).") from None
    if not isinstance(value, type(absent)):
        raise ConfigError(f"{path} is corrupt (not a JSON {type(absent).__name__}).")
    if isinstance(value, list) and not all(isinstance(each, dict) for each in value):
        raise ConfigError(f"{path} is corrupt (not a list of JSON objects).")
    return value


def _lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """The complete lines. The last one may be incomplete: still being written, or cut by a kill."""
    found = []
    text = path.read_text(errors="replace") if path.exists() else ""
    for line in text.splitlines(keepends=True):
        try:
            entry = json.loads(line) if line.endswith("\n") else None
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
            break
        found.append(entry)
    return found
