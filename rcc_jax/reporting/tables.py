"""Tables of many runs, methods x partitions, with published numbers beside ours."""

import collections
import csv
import io
import math
import os
import pathlib
import statistics
from collections.abc import Callable, Iterable, Sequence

from input_pipeline.files import write_atomically
from rcc_jax.methods import METHODS
from rcc_jax.reporting import published_sources
from rcc_jax.reporting.run_results import Result, gather


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
    name their source and what they depend on.
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
        for source in published_sources.SOURCES:
            for method, values in source.numbers.get((data, backbone), {}).items():
                theirs = [str(values.get(partition, "-")) for partition in partitions]
                if set(theirs) != {"-"}:
                    title = source.title_of(data, method)
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
    """'mean ± standard deviation' of several runs; only the mean for one run, or with a NaN."""
    if any(map(math.isnan, values)):
        return "nan"
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
    name, order = method.split(",")[0].split(" + ")[0], list(METHODS)
    return (order.index(name) if name in METHODS else len(order), method)


def as_csv(results: Sequence[Result]) -> str:
    """One line per run of ours and per published number; the column `source` tells which."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = ["source", "data", "backbone", "method", "partition", "seed", "last", "best"]
    writer.writerow([*heads, "test", "protocol", "marks"])
    for r in sorted(results, key=lambda r: (r.data, r.partition, r.backbone, r.method, r.seed)):
        cell = [r.data, r.backbone, r.method, r.partition, r.seed]
        writer.writerow(["ours", *cell, r.last, r.best, r.test, r.protocol, ""])
    cells = {(r.data, r.backbone) for r in results}
    for source in published_sources.SOURCES:
        for data, backbone in sorted(cells & source.numbers.keys()):
            for method, values in source.numbers[data, backbone].items():
                marks = source.marks_of(data, method)
                for partition, value in values.items():
                    scores = [value, ""] if marks.epoch == "last" else ["", value]
                    row = [source.title, data, backbone, method, partition, "", *scores]
                    writer.writerow([*row, "", "", marks])
    return text.getvalue()


def write(folder: str | os.PathLike, log: Callable[[str], None]) -> str:
    """Gathers the results, writes table.md and table.csv, and returns the Markdown.

    Args:
        folder: A workdir, or a folder of them.
        log: Called with a line of text for each run that is left out and for each written file.

    Raises:
        ConfigError: As for `gather`.
    """
    results = gather(folder, log)
    texts = {"table.md": markdown(results), "table.csv": as_csv(results)}
    for name, text in texts.items():
        path = pathlib.Path(folder) / name
        write_atomically(path, text)
        log(f"written: {path}")
    return texts["table.md"]
