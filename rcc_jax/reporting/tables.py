"""Tables of many runs, methods x partitions, with published numbers beside ours."""

import collections
import csv
import dataclasses
import io
import json
import os
import pathlib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from input_pipeline import near_names
from input_pipeline.files import write_atomically
from rcc_jax.config import method_group, protocols, schema
from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS
from rcc_jax.options import Option
from rcc_jax.reporting import published
from rcc_jax.workdir.folder import RESULT, evaluation_name


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a finished run.

    Attributes:
        data: Name of the data set.
        partition: Name of the partition.
        backbone: Name of the backbone.
        method: Name of the method, with the settings that differ from its defaults.
        seed: The seed.
        last, best: mIoU in percent of the last and of the best evaluation.
        test: mIoU of the last checkpoint on a list test.txt; None if it was not scored on one.
        protocol: Evaluation protocol of `last` and `best`.
    """

    data: str
    partition: str
    backbone: str
    method: str
    seed: int
    last: float
    best: float
    test: float | None = None
    protocol: str = ""


def gather(folder: str | os.PathLike, report: Callable[[str], None]) -> list[Result]:
    """Reads every finished run in or below a folder.

    Args:
        folder: A workdir, or a folder of them.
        report: Called with a line of text for each run that is left out.

    Raises:
        ConfigError: If no run is finished, or two runs have the same cell and seed.
    """
    found = []
    for path in sorted(pathlib.Path(folder).glob("**/config.json")):
        workdir = path.parent
        if not (workdir / RESULT).exists():
            report(f"left out, not finished: {workdir}")
            continue
        found.append((read_result(workdir), workdir))
    if not found:
        raise ConfigError(f"--workdir={folder}: {no_run(folder, 'finished run')}")
    return distinct(found)


def no_run(folder: str | os.PathLike, what: str) -> str:
    """The reason why a folder has no run or no finished one, for a message."""
    if os.path.isdir(folder):
        return f"there is no {what} in it or below it."
    return f"there is no such folder.{near_names.hint(os.fspath(folder))}"


def distinct(found: Iterable[tuple[Result, pathlib.Path]]) -> list[Result]:
    """The results without their paths; rejects duplicates, which a table would average.

    Raises:
        ConfigError: If two results have the same cell and seed.
    """
    paths: dict[tuple, pathlib.Path] = {}
    results = []
    for result, path in found:
        plain = dataclasses.replace(result, last=0.0, best=0.0, test=None, protocol="")
        key = dataclasses.astuple(plain)
        if key in paths:
            raise ConfigError(
                f"{paths[key]} and {path} are both {result.method}, seed {result.seed}, "
                f"on {result.data} {result.partition}; move one of them elsewhere."
            )
        paths[key] = path
        results.append(result)
    return results


def read_result(workdir: pathlib.Path) -> Result:
    """The result of one finished run.

    Raises:
        ConfigError: If a file is corrupt.
    """
    try:
        config = json.loads((workdir / "config.json").read_text())
        result = json.loads((workdir / RESULT).read_text())
        tested = test_scores(workdir, result["step"])
        return as_result(config, result, tested)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigError(
            f"{workdir}: config.json, result.json or the scores on test.txt are corrupt ({error})."
        ) from None


def as_result(
    config: Mapping[str, Any], result: Mapping[str, Any], tested: Mapping[str, Any] | None
) -> Result:
    """Makes a result from the configuration of a run, its result.json and `test_scores`."""

    def number(value: float | None) -> float:
        return float("nan") if value is None else value

    return Result(
        data=data_name(config),
        partition=partition_name(config),
        backbone=config["model"]["backbone"],
        method=method_name(config),
        seed=config["seed"],
        last=number(result["miou"]),
        best=number(result["best_miou"]),
        test=None if tested is None else number(tested["miou"]),
        protocol=protocols.of_line(result, config),
    )


def test_scores(workdir: pathlib.Path, step: int) -> dict[str, Any] | None:
    """'miou' and 'iou' of a checkpoint on a list test.txt; of the EMA teacher if there is one.

    None if it was not scored: `--mode=eval --list=test.txt` does that.
    """
    path = workdir / evaluation_name(step, "test.txt")
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    return found.get("ema", found["student"])


def data_name(config: Mapping[str, Any]) -> str:
    """The name of the data set, or its source if it has no name."""
    return config["data"]["name"] or config["data"]["source"]


def partition_name(config: Mapping[str, Any]) -> str:
    """The name of the partition, or its list of labelled images if it has no name."""
    return config["data"]["partition"] or config["data"]["labeled"]


def method_name(config: Mapping[str, Any]) -> str:
    """The method with each field that differs from its default: 'rcc, N = 5', 'cc, kl'.

    On some data sets, the defaults are those of the recipe with which all methods are compared.

    Args:
        config: The configuration of a run, nested.
    """
    recorded = config["method"]
    name = recorded["name"]
    parts = [name]
    if name == "supervised" and config["train"]["num_steps"]:
        parts.append("same steps")
    recipe = method_group.recipe(data_name(config), name)
    uses_ohem = recorded.get("labeled_loss") == "ohem"
    for field, declared in schema.method_fields(name).items():
        value = recorded.get(field)
        # In older runs, an absent or empty field stands for the default.
        is_default = value in (None, "", recipe.get(field, declared.default))
        if not is_default and (uses_ohem or not field.startswith("ohem_")):
            parts.append(_setting(field, declared, value))
    if config["data"].get("cutmix_partner", "other") == "same" and method_group.uses_unlabeled(
        name
    ):
        parts.append("CutMix of the same image")
    return ", ".join(parts)


def _setting(field: str, declared: Option, value: Any) -> str:
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    if declared.choices:
        return f"{shown} pixels" if field == "consensus_pixels" else shown
    if declared.symbol == "EMA":
        return f"EMA {shown}"
    return f"{declared.symbol or field} = {shown}"


def _by_cell(results: Iterable[Result]) -> dict[tuple, dict[tuple[str, str], list[Result]]]:
    groups: dict = collections.defaultdict(list)
    for result in results:
        groups[result.data, result.backbone].append(result)
    tables: dict = {}
    for key, group in groups.items():
        # Scores of different protocols are not comparable, so they get separate rows.
        mixed = len({result.protocol for result in group}) > 1
        cells = tables[key] = collections.defaultdict(list)
        for result in group:
            how = f", evaluated {result.protocol}" if mixed else ""
            cells[result.method + how, result.partition].append(result)
    return dict(sorted(tables.items()))


def markdown(results: Sequence[Result]) -> str:
    """One Markdown table per data set and backbone, with methods as rows, partitions as columns.

    A cell is 'last / best' mIoU with the standard deviation over the seeds and their number; if
    runs were scored on a list test.txt, it is 'last / best / test'. Published rows follow ours and
    name their source.
    """
    texts = []
    for (data, backbone), cells in _by_cell(results).items():
        partitions = in_order({partition for _, partition in cells})
        methods = sorted({method for method, _ in cells}, key=method_order)
        tested = any(run.test is not None for runs in cells.values() for run in runs)
        what = "last / best evaluation" + (" / last on the test images" if tested else "")
        lines = [
            f"### {data}, {backbone}",
            "",
            f"mIoU in percent, {what}, mean ± standard deviation (seeds)",
            "",
            f"| method | {' | '.join(partitions)} |",
            f"| --- |{' --- |' * len(partitions)}",
        ]
        for method in methods:
            ours = [_cell(cells.get((method, partition)), tested) for partition in partitions]
            lines.append(f"| {method} | {' | '.join(ours)} |")
        for title, numbers in published.SOURCES.items():
            for method, values in numbers.get((data, backbone), {}).items():
                theirs = [str(values.get(partition, "-")) for partition in partitions]
                if set(theirs) != {"-"}:
                    lines.append(f"| *{method} ({title})* | {' | '.join(theirs)} |")
        texts.append("\n".join(lines))
    return "\n\n".join(texts) + "\n"


def _cell(results: Sequence[Result] | None, tested: bool) -> str:
    if not results:
        return "-"
    columns = [[r.last for r in results], [r.best for r in results]]
    columns += [[r.test for r in results]] if tested else []
    numbers = ["-" if None in column else mean_and_spread(column) for column in columns]
    return f"{' / '.join(numbers)} ({len(results)})"


def mean_and_spread(values: Sequence[float]) -> str:
    """'mean ± standard deviation' of several runs; only the mean for one run."""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


def in_order(partitions: Iterable[str]) -> list[str]:
    """Numbers by size, then '1_16' before '1_8' (fewest labels first), then names."""

    def key(name: str):
        top, _, bottom = name.partition("_")
        if name.isdigit():
            return (0, float(name), name)
        if top.isdigit() and bottom.isdigit() and int(bottom):
            return (1, int(top) / int(bottom), name)
        return (2, 0.0, name)

    return sorted(partitions, key=key)


def method_order(method: str) -> tuple:
    """Sort key that orders methods from the simplest to the newest."""
    name, order = method.split(",")[0], list(METHODS)
    return (order.index(name) if name in METHODS else len(order), method)


def as_csv(results: Sequence[Result]) -> str:
    """One line per run of ours and per published number; the column `source` tells which."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = ["source", "data", "backbone", "method", "partition", "seed", "last", "best"]
    writer.writerow([*heads, "test", "protocol"])
    for r in sorted(results, key=lambda r: (r.data, r.partition, r.backbone, r.method, r.seed)):
        cell = [r.data, r.backbone, r.method, r.partition, r.seed]
        writer.writerow(["ours", *cell, r.last, r.best, r.test, r.protocol])
    cells = {(r.data, r.backbone) for r in results}
    for source, numbers in published.SOURCES.items():
        for data, backbone in sorted(cells & numbers.keys()):
            for method, values in numbers[data, backbone].items():
                for partition, value in values.items():
                    row = [source, data, backbone, method, partition, "", "", value, "", ""]
                    writer.writerow(row)
    return text.getvalue()


def write(folder: str | os.PathLike, report: Callable[[str], None]) -> str:
    """Gathers the results, writes table.md and table.csv, and returns the Markdown.

    Args:
        folder: A workdir, or a folder of them.
        report: Called with a line of text for each run that is left out and for each written file.

    Raises:
        ConfigError: As for `gather`.
    """
    results = gather(folder, report)
    texts = {"table.md": markdown(results), "table.csv": as_csv(results)}
    for name, text in texts.items():
        path = pathlib.Path(folder) / name
        write_atomically(path, text)
        report(f"written: {path}")
    return texts["table.md"]
