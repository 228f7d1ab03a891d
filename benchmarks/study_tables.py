"""The results of a study besides its table of means: paired differences, classes, curves.

All functions take the kept runs of `study.read`, each as (record, result).
"""

import collections
import math
import statistics
from collections.abc import Iterable, Sequence

from rcc_jax.reporting import run_results, tables
from rcc_jax.reporting.line_chart import Series, picture

Kept = Sequence[tuple[dict, run_results.Result]]
# The method to compare with: the first of these that has runs.
BASELINES = ("unimatch", "unimatch_v2")
SCORES = {"last": "validation", "test": "test"}
CURVES = {
    "kept_ratio": "share of the unlabelled pixels whose pseudo label counts",
    "loss_consensus": "consensus loss, in different units for each kind",
    "loss_labeled": "loss of the labelled images",
}
# The five classes with the fewest pixels in the unlabelled images, by data set.
RAREST = {"msrc": ("boat", "aeroplane", "bird", "cat", "chair")}
# Number of neighbouring points of a curve that are averaged, because batches are small.
WINDOW = 5


def against_baseline(kept: Kept) -> str:
    """Markdown: each method minus the baseline of the same partition, seed and length.

    A second table has each variant of RCC minus RCC itself, if there are variants. '' if the
    baselines or all other methods have no run.
    """
    methods = {each.method for _, each in kept}
    tables_ = [_differences(kept, _baseline(methods), methods)]
    usual = sorted({_without_length(name) for name in methods if _is_rcc(name)})
    plain = min(usual, key=len, default="")
    variants = {name for name in methods if name.startswith(f"{plain}, ") and _is_rcc(name)}
    if variants:
        tables_.append(_differences(kept, plain, variants))
    return "\n\n".join(filter(None, tables_))


def _is_rcc(method: str) -> bool:
    return method.split(",")[0].split(" + ")[-1] == "rcc"


def _differences(kept: Kept, baseline: str, methods: Iterable[str]) -> str:
    """A table of the methods minus a baseline, whose runs of other lengths count for those."""
    bases = {
        (each.partition, each.seed, _length(record)): each
        for record, each in kept
        if _without_length(each.method) == baseline
    }
    columns: dict = collections.defaultdict(lambda: collections.defaultdict(list))
    for record, run in kept:
        base = bases.get((run.partition, run.seed, _length(record)))
        if base is None or base is run or run.method not in methods:
            continue
        for score in SCORES:
            pair = getattr(run, score), getattr(base, score)
            if None not in pair:
                columns[run.partition, run.method][score].append(pair[0] - pair[1])
    if not columns:
        return ""
    lines = [
        f"Difference from `{baseline}` with the same labels, seed and length, in points of mIoU on "
        "validation and test images, mean ± standard deviation (runs ahead / runs):",
        "",
        f"| labels | method | {' | '.join(SCORES.values())} |",
        f"| --- | --- |{' --- |' * len(SCORES)}",
    ]
    for partition in tables.in_order({partition for partition, _ in columns}):
        methods = (method for each, method in columns if each == partition)
        for method in sorted(methods, key=tables.method_order):
            cells = [_difference(columns[partition, method][score]) for score in SCORES]
            lines.append(f"| {partition} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _length(record: dict) -> tuple:
    train = record.get("config", {}).get("train", {})
    return train.get("num_steps"), not train.get("num_steps") and train.get("num_epochs")


def _without_length(method: str) -> str:
    lengths = ("num_steps = ", "num_epochs = ")
    return ", ".join(part for part in method.split(", ") if not part.startswith(lengths))


def _baseline(methods: Iterable[str]) -> str:
    """The method to compare with, with its settings as in `methods`; '' if none has runs."""
    methods = {_without_length(method) for method in methods}
    ranks = {method: method.split(",")[0] for method in sorted(methods)}
    known = [method for method, name in ranks.items() if name in BASELINES]
    return min(known, key=lambda method: BASELINES.index(ranks[method]), default="")


def _difference(values: Sequence[float]) -> str:
    if not values:
        return "-"
    known = not any(map(math.isnan, values))
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 and known else ""
    ahead = sum(value > 0 for value in values)
    return f"{statistics.fmean(values):+.1f}{spread} ({ahead} / {len(values)})"


def by_class(kept: Kept) -> str:
    """IoU by class on validation and test images, mean over the seeds, one table per partition.

    The heads of the columns name the seeds, which need not be the same.
    """
    texts = []
    for partition in tables.in_order({each.partition for _, each in kept}):
        chosen = [(record, each) for record, each in kept if each.partition == partition]
        methods = sorted({each.method for _, each in chosen}, key=tables.method_order)
        heads = []
        for method in methods:
            seeds = sorted(each.seed for _, each in chosen if each.method == method)
            heads.append(f"{method} (seeds {', '.join(map(str, seeds))})")
        lines = [
            f"IoU by class, {partition}, percent: validation / test, mean over the seeds",
            "",
            f"| class | {' | '.join(heads)} |",
            f"| --- |{' --- |' * len(methods)}",
        ]
        for name in chosen[0][0]["iou"]:
            cells = []
            for method in methods:
                records = [record for record, each in chosen if each.method == method]
                tested = [record["test"]["iou"].get(name) for record in records if record["test"]]
                cells.append(
                    f"{_mean(record['iou'][name] for record in records)} / {_mean(tested)}"
                )
            lines.append(f"| {name} | {' | '.join(cells)} |")
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def _mean(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.fmean(known):.1f}" if known else "-"


def curves(kept: Kept) -> dict[str, str]:
    """Pictures by file name: training curves and scores by step, means over the seeds."""
    kept = _compared(kept)
    described = _runs(kept)
    found = {}
    for name, title in CURVES.items():
        runs = [(record["curves"].get(name, []), each.method) for record, each in kept]
        found[f"{name}.svg"] = _by_step(f"{title}, {described}", runs, WINDOW)
    runs = [(record["curves"].get("miou", []), each.method) for record, each in kept]
    title = f"mIoU in percent, validation images, {described}"
    found["miou.svg"] = _by_step(title, runs, window=1)
    runs = [(rare_classes(record, each), each.method) for record, each in kept]
    title = f"mIoU of the five rarest classes in percent, validation images, {described}"
    found["rarest.svg"] = _by_step(title, runs, window=1)
    return {name: drawn for name, drawn in found.items() if drawn}


def rare_classes(record: dict, result: run_results.Result) -> list[tuple[int, float]]:
    """The mean IoU of the rarest classes by step; empty for data whose classes were not counted."""
    scores = record.get("iou_by_step", {})
    chosen = [scores[name] for name in RAREST.get(result.data, ()) if name in scores]
    return [
        (points[0][0], statistics.fmean(value for _, value in points))
        for points in zip(*chosen, strict=True)
        if all(value is not None for _, value in points)
    ]


def _compared(kept: Kept) -> Kept:
    """The runs of one partition, of the seeds that its methods share.

    Of the partitions with several methods it is the one with the most such seeds, and among equals
    the one with the fewest labels. Methods with fewer than half of the seeds of another are left
    out. All runs, if there is no such partition or no such seed.
    """
    seeds: dict = collections.defaultdict(lambda: collections.defaultdict(set))
    for _, each in kept:
        seeds[each.partition][each.method].add(each.seed)
    shared: dict = {}
    for partition in tables.in_order(seeds):
        most = max(map(len, seeds[partition].values()))
        often = {name: x for name, x in seeds[partition].items() if 2 * len(x) >= most}
        if len(often) > 1:
            shared[partition] = often, set.intersection(*often.values())
    chosen = max(shared, key=lambda partition: len(shared[partition][1]), default=None)
    methods, common = shared.get(chosen, ((), ()))
    of_chosen = [run for run in kept if run[1].partition == chosen and run[1].method in methods]
    return [run for run in of_chosen if run[1].seed in common] or kept


def _runs(kept: Kept) -> str:
    """What a curve is made from, for its title."""
    partitions = {each.partition for _, each in kept}
    labels = f"labels {partitions.pop()}, " if len(partitions) == 1 else ""
    seeds = sorted({each.seed for _, each in kept})
    of_seeds = f"mean over the seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else "one seed"
    return labels + of_seeds


def _by_step(title: str, runs: Sequence[tuple[Sequence, str]], window: int) -> str:
    """A picture of values by step, a line for each method; '' without values."""
    points: dict = collections.defaultdict(lambda: collections.defaultdict(list))
    for curve, method in runs:
        for step, value in curve:
            points[method][step].append(value)
    methods = sorted(points, key=tables.method_order)
    series = [
        Series(method, kind, _smooth(sorted(points[method].items()), window))
        for kind, method in enumerate(methods)
    ]
    return picture(title, series, methods, x_label="step") if series else ""


def _smooth(points: Sequence[tuple[int, list[float]]], window: int) -> list[tuple[int, float]]:
    means = [statistics.fmean(values) for _, values in points]
    return [
        (step, statistics.fmean(means[max(0, index - window + 1) : index + 1]))
        for index, (step, _) in enumerate(points)
    ]
