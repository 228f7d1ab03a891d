"""Which pseudo labels pass the threshold, and how many of them are right, by class and by step.

    python benchmarks/pseudo_labels.py --truth=splits/unlabeled.txt runs/UNIMATCH runs/RCC \
        --name=photos

Takes the unlabelled images of runs with the masks that their training never saw: each image once,
in a random weak and a random strong view, in batches of the run's size and with BatchNorm's
statistics of the batch. Every checkpoint that a run still has is measured; `checkpoint.keep` says
how many a training keeps. For each class it counts the true pixels with a label above the
threshold, and the labels above the threshold that name the class and are right.

Writes `results/NAME_pseudo_labels.json`, `.md` (a table of each run's last step) and `.svg` (a
panel for each class, by step, of the runs with at least three checkpoints).
"""

import argparse
import collections
import json
import pathlib
import statistics
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import environment  # noqa: E402
from benchmarks.mechanism import batches, open_run  # noqa: E402
from configs import recorded  # noqa: E402
from input_pipeline import DataError  # noqa: E402
from input_pipeline.files import write_atomically  # noqa: E402
from rcc_jax.errors import ConfigError  # noqa: E402
from rcc_jax.labels import IGNORED  # noqa: E402
from rcc_jax.methods import passes  # noqa: E402
from rcc_jax.reporting import figures, run_results, tables  # noqa: E402
from rcc_jax.reporting.line_chart import COLORS, INK, RULE  # noqa: E402
from rcc_jax.training.run import Run  # noqa: E402

RESULTS = REPOSITORY / "benchmarks" / "results"
# A line by step needs this many checkpoints.
CURVE = 3
COLUMNS = 5


def count(truth, pseudo, confidence, threshold: float, num_classes: int) -> dict[str, np.ndarray]:
    """Counts pixels by class.

    Args:
        truth: True classes, [...]; ignored pixels are left out.
        pseudo: Pseudo labels, [...].
        confidence: Their probabilities, [...].
        threshold: Labels below it are not kept.
        num_classes: Number of classes.

    Returns:
        Arrays [num_classes]: the `true` pixels of a class, those that have `kept` labels; the
        `named` pixels, whose kept label is the class, and those of them that are `right`.
    """
    known = truth != IGNORED
    truth, pseudo, kept = truth[known], pseudo[known], confidence[known] >= threshold

    def of(values):
        return np.bincount(values, minlength=num_classes)

    return {
        "true": of(truth),
        "kept": of(truth[kept]),
        "named": of(pseudo[kept]),
        "right": of(pseudo[kept & (truth == pseudo)]),
    }


def ratio(part, whole) -> float | None:
    """Percent; None without pixels."""
    return 100 * float(part) / float(whole) if whole else None


def make_look(run: Run):
    """A jitted function from weights and a batch to confidence and label of each weak pixel."""

    @jax.jit
    def look(weights, batch):
        student = run.network.student(weights)
        logits = student(passes.interleave(batch["weak"], batch["strong1"]))
        weak, _ = passes.separate(logits.astype(jnp.float32))
        return jax.nn.softmax(weak).max(-1), weak.argmax(-1)

    return look


def measure(workdir: pathlib.Path, step: str, truth: str, seed: int) -> dict[str, list[int]]:
    """The counts of a checkpoint, over all images that fill whole batches."""
    run = open_run(workdir, step, truth)
    threshold = recorded.get_config(workdir).method.confidence_threshold
    classes, weights = run.config.data.num_classes, run.initial_state(print).weights
    look, found = make_look(run), []
    whole = len(run.partition.val) // run.config.train.batch_size
    for batch in batches(run, whole, seed):
        confidence, pseudo = jax.device_get(look(weights, batch))
        found.append(count(batch["label"], pseudo, confidence, threshold, classes))
    return {name: np.sum([each[name] for each in found], axis=0).tolist() for name in found[0]}


def summary(counts: dict[str, Sequence[int]]) -> tuple[float | None, float | None]:
    """Percent of the pixels with a kept label, and of the kept labels that are right."""
    kept = sum(counts["kept"])
    return ratio(kept, sum(counts["true"])), ratio(sum(counts["right"]), kept)


def by_class(counts: dict[str, Sequence[int]]) -> list[tuple[float | None, float | None]]:
    """The same by class: of its true pixels, and of the kept labels that name it."""
    columns = (counts[name] for name in ("true", "kept", "named", "right"))
    return [
        (ratio(kept, true), ratio(right, named))
        for true, kept, named, right in zip(*columns, strict=True)
    ]


def table(record: dict[str, Any]) -> str:
    """Markdown: share and accuracy at each run's last step, by class, means over the seeds."""
    found: dict = collections.defaultdict(list)
    for run in record["runs"]:
        last = run["steps"][max(run["steps"], key=int)]
        found[run["method"]].append([summary(last), *by_class(last)])
    true = np.array(last["true"])
    shares = [100.0, *(100 * true / true.sum())]
    methods = sorted(found, key=tables.method_order)
    seeds = ", ".join(f"{name}: {len(found[name])}" for name in methods)
    lines = [
        "Pseudo labels of the unlabelled images at the last step, percent: pixels of the class "
        f"with a kept label / kept labels of the class that are right. Runs: {seeds}.",
        "",
        f"| class | share of the pixels | {' | '.join(methods)} |",
        f"| --- | --- |{' --- |' * len(methods)}",
    ]
    for row, (name, share) in enumerate(zip(["all", *record["classes"]], shares, strict=True)):
        cells = [_means([run[row] for run in found[method]]) for method in methods]
        lines.append(f"| {name} | {share:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _means(runs: Iterable[tuple[float | None, float | None]]) -> str:
    known = [[value for value in values if value is not None] for values in zip(*runs, strict=True)]
    return " / ".join(f"{statistics.fmean(values):.0f}" if values else "-" for values in known)


def draw(record: dict[str, Any]) -> str:
    """An SVG with a panel for each class, share dashed and accuracy solid; '' without curves."""
    runs = [run for run in record["runs"] if len(run["steps"]) >= CURVE]
    methods = sorted({run["method"] for run in runs}, key=tables.method_order)
    names = ["all", *record["classes"]]
    rows = -(-len(names) // COLUMNS)

    def plot(figure) -> None:
        from matplotlib.lines import Line2D

        panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True)
        for axes in panels.flat[len(names) :]:
            axes.set_visible(False)
        for place, (name, axes) in enumerate(zip(names, panels.flat, strict=False)):
            axes.set_title(name, fontsize="medium", loc="left")
            axes.set_ylim(-4, 104)
            axes.grid(color=RULE, linewidth=0.75)
            axes.tick_params(length=0, labelcolor=INK)
            for spine in axes.spines.values():
                spine.set_visible(False)
            for run in runs:
                _plot_run(axes, run, place, COLORS[methods.index(run["method"])])
        lines = [Line2D([], [], color=COLORS[kind], label=name)
                 for kind, name in enumerate(methods)]  # fmt: skip
        lines += [
            Line2D([], [], color=INK, label="kept labels that are right"),
            Line2D([], [], color=INK, linestyle="dashed", label="pixels with a kept label"),
        ]
        figure.legend(handles=lines, loc="outside lower left", ncols=2, frameon=False)
        figure.suptitle("Pseudo labels by step, percent", x=0, ha="left", fontsize="medium")

    if not runs:
        return ""
    return figures.standalone(figures.draw(plot, 600, 110 * rows + 60, name="pseudo labels"))


def _plot_run(axes, run: dict[str, Any], place: int, color: str) -> None:
    steps = sorted(run["steps"], key=int)
    points = [[summary(run["steps"][step]), *by_class(run["steps"][step])][place] for step in steps]
    share, accuracy = (
        [np.nan if value is None else value for value in each] for each in zip(*points, strict=True)
    )
    axes.plot(list(map(int, steps)), share, color=color, linestyle="dashed", linewidth=1)
    axes.plot(list(map(int, steps)), accuracy, color=color, linewidth=1.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdirs", type=pathlib.Path, nargs="+", help="folders of runs")
    parser.add_argument("--truth", required=True, help="list of unlabelled images and their masks")
    parser.add_argument("--seed", type=int, default=0, help="of the views")
    parser.add_argument("--name", required=True, help="start of the names of the files")
    arguments = parser.parse_args()
    record: dict[str, Any] = {**environment.describe(), "runs": []}
    try:
        measure_all(arguments, record)
    except (ConfigError, DataError) as error:
        sys.exit(f"error: {error}")


def measure_all(arguments: argparse.Namespace, record: dict[str, Any]) -> None:
    """Adds the runs to the record, and writes it after each.

    Raises:
        ConfigError, DataError: If a run, its method or an image cannot be used.
    """
    for workdir in map(pathlib.Path.resolve, arguments.workdirs):
        config = recorded.get_config(workdir)
        if config.method.get("confidence_threshold") is None:
            raise ConfigError(f"{workdir}: method {config.method.name} has no threshold.")
        paths = [path for path in workdir.glob("checkpoints/*") if path.name.isdigit()]
        if not paths:
            raise ConfigError(f"{workdir}: there is no checkpoint; train first.")
        record["threshold"] = config.method.confidence_threshold
        record["classes"] = list(config.data.class_names)
        steps: dict[str, dict] = {}
        name = run_results.method_name(config.to_dict())
        record["runs"].append({"run": workdir.name, "method": name, "steps": steps})
        for step in sorted((path.name for path in paths), key=int):
            steps[step] = measure(workdir, step, arguments.truth, arguments.seed)
            kept, right = summary(steps[step])
            print(f"{workdir.name}, step {step}: kept {kept}, right if kept {right}", flush=True)
        write(record, RESULTS / f"{arguments.name}_pseudo_labels")


def write(record: dict[str, Any], stem: pathlib.Path) -> None:
    """Writes the files of a record, whose names start with `stem`."""
    files = {"json": json.dumps(record) + "\n", "md": table(record), "svg": draw(record)}
    for ending, text in files.items():
        if text:
            write_atomically(stem.with_name(f"{stem.name}.{ending}"), text)


if __name__ == "__main__":
    main()
