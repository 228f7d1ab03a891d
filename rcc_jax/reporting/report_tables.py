"""The tables of the report: scores of methods, runs and classes, settings and versions."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rcc_jax.config.recorded import flatten
from rcc_jax.reporting import html_page as page
from rcc_jax.reporting.run_record import RunRecord, absent_classes, class_scores, score
from rcc_jax.reporting.tables import mean_and_spread


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _last(run: RunRecord) -> float | None:
    return score(run.evaluations[-1])


def _best(run: RunRecord) -> float | None:
    return _highest(run.by_protocol[run.protocol])


def _highest(evaluations: Sequence[Mapping[str, Any]]) -> float | None:
    known = [score(line) for line in evaluations]
    return max((value for value in known if value is not None), default=None)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return mean_and_spread(known) if len(known) > 1 else _number(known[0])


def _best_column(values: Sequence[float | None]) -> int | None:
    """Column of the greatest mean, after the row's head; None for a tie or a single mean."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or known.count(max(known)) > 1:
        return None
    return values.index(max(known)) + 1


def comparison(cells: dict[str, list[RunRecord]]) -> str:
    """Mean mIoU over the seeds, by method, backbone and partition."""
    if not cells:
        return "<p>No run was evaluated yet.</p>\n"
    rows = []
    for cell, runs in cells.items():
        last, best = ([read(run) for run in runs] for read in (_last, _best))
        unfinished = sum(not run.finished for run in runs)
        state = f"{unfinished} of {len(runs)} not finished" if unfinished else "finished"
        rows.append([cell, _spread(last), _spread(best), str(len(runs)), state])
    return page.table(
        "mIoU of the last and of the best evaluation, mean ± standard deviation over the seeds",
        ["method; backbone; partition", "last", "best", "seeds", "state"],
        rows,
    )


def every_run(runs: Sequence[RunRecord]) -> str:
    """A line per run, and the mIoU of each of its evaluations."""
    rows = []
    for run in runs:
        last, best = (_last(run), _best(run)) if run.evaluations else (None, None)
        val = run.config["data"]["val"]
        rates = [line["images_per_second"] for line in run.timing if "images_per_second" in line]
        rate = statistics.median(rates) if rates else None
        again = ", ".join(
            f"{kind} {_number(entry[kind].get('miou'))} at step {entry.get('step')}"
            + (f" on {entry['images']}" if entry.get("images", val) != val else "")
            for entry in run.later
            for kind in ("student", "ema")
            if isinstance(entry.get(kind), dict)
        )
        again = ", ".join(filter(None, [again, *_other_bests(run)]))
        row = [run.name, str(run.config["seed"]), str(run.steps)]
        row += ["finished" if run.finished else "not finished", _number(last), _number(best)]
        rows.append([*row, _number(rate, 1), again or "-"])
    heads = ["run", "seed", "steps", "state", "last mIoU", "best mIoU", "images/s (median)"]
    steps = sorted({line["step"] for run in runs for line in run.evaluations})
    scores = [
        [name, *(_number(known.get(step)) for step in steps)]
        for run in runs
        for name, lines in evaluations_of(run)
        for known in [{line["step"]: score(line) for line in lines}]
    ]
    text = page.table("Every run", [*heads, "evaluated again"], rows)
    return text + page.table("mIoU at each evaluation", ["run", *map(str, steps)], scores)


def _other_bests(run: RunRecord) -> list[str]:
    """The best score of each protocol other than that of the last evaluation."""
    return [
        f"best {_number(_highest(lines))} when evaluated {protocol}"
        for protocol, lines in run.by_protocol.items()
        if protocol != run.protocol
    ]


def evaluations_of(run: RunRecord) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    """The evaluations of a run under its name; one entry per protocol if it has several."""
    groups = run.by_protocol
    if len(groups) < 2:
        return [(run.name, run.evaluations)]
    return [(f"{run.name}, {protocol}", lines) for protocol, lines in groups.items()]


def class_table(cells: dict[str, list[RunRecord]], classes: Sequence[str]) -> str:
    """IoU of the last evaluation by class, as a mean over the seeds and by run."""
    if not cells:
        return "<p>No run was evaluated yet.</p>\n"
    runs = [run for each in cells.values() for run in each]
    absent = {name for run in runs for name in absent_classes(run.evaluations[-1])}
    names = {each: f"{each}*" if each in absent else each for each in classes}
    rows, best = [], []
    for each in classes:
        values = [
            [class_scores(run.evaluations[-1]).get(each) for run in runs] for runs in cells.values()
        ]
        rows.append([names[each], *map(_spread, values)])
        known = [[value for value in part if value is not None] for part in values]
        best.append(_best_column([statistics.fmean(part) if part else None for part in known]))
    text = page.table(
        "Last evaluation, mean ± standard deviation over the seeds; the best is underlined",
        ["class", *cells],
        rows,
        best=best,
    )
    single = [
        [names[each], *(_number(class_scores(run.evaluations[-1]).get(each)) for run in runs)]
        for each in classes
    ]
    every = page.table(
        "Last evaluation of every run", ["class", *(run.name for run in runs)], single
    )
    note = "<p>*: not in the ground truth; where predicted it counts as 0 in mIoU.</p>\n"
    return text + (note if absent else "") + page.details("By class and run", every)


def settings(runs: Sequence[RunRecord]) -> str:
    """The settings that differ, those that all runs share, and the versions of packages."""
    recorded = [flatten(run.config) for run in runs]
    fields = sorted(set().union(*recorded))
    # A run has no value for the fields of other methods.
    shown = [
        {field: json.dumps(each[field]) if field in each else "-" for field in fields}
        for each in recorded
    ]
    differing = [field for field in fields if len({each[field] for each in shown}) > 1]
    text = ""
    if differing:
        rows = [
            [run.name, *(each[field] for field in differing)]
            for run, each in zip(runs, shown, strict=True)
        ]
        caption = "Settings that differ between the runs"
        text += page.table(caption, ["run", *differing], rows, text=True)
    common = [[field, shown[0][field]] for field in fields if field not in differing]
    same = page.table("Settings of all these runs", ["field", "value"], common, text=True)
    return text + page.details("Settings that all runs share", same) + _versions(runs)


def _versions(runs: Sequence[RunRecord]) -> str:
    entries = [(run, flatten(entry)) for run in runs for entry in run.environment]
    if not entries:
        return "<p>These runs did not record their versions.</p>\n"
    fields = list(dict.fromkeys(field for _, entry in entries for field in entry))
    rows = [[run.name, *(str(entry.get(field, "-")) for field in fields)] for run, entry in entries]
    heads = [field.removeprefix("packages.").replace("_", " ") for field in fields]
    return page.table("Versions and devices", ["run", *heads], rows, text=True)
