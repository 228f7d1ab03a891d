"""Trains the demo's methods one after the other, compares them, and draws what they see.

    python benchmarks/demo.py --methods=supervised,rcc --seeds=0

Every run is `main.py --config=configs/demo.py:method=...,seed=...`, started from the weights of a
run on the labels alone, one for each seed; one that was interrupted goes on, a finished one is only
read. Prints mIoU (last and best checkpoint, mean and standard deviation
over the seeds) and writes `demo.png`: image, truth and each method's prediction.
"""

import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys

import environment
import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from rcc_jax import tables, visualization  # noqa: E402
from rcc_jax.checkpoints import Checkpoints  # noqa: E402
from rcc_jax.run import Run  # noqa: E402

PICTURES = 6
START_STEPS = 300


def run_name(method: str, seed: int) -> str:
    return f"demo-method={method},seed={seed}"


def train(folder: pathlib.Path, method: str, seed: int) -> None:
    """Trains one method, or goes on with it, from weights that all methods of a seed share."""
    start = folder / f"demo-start,seed={seed}"
    arguments = f"method=supervised,seed={seed},steps={START_STEPS}"
    _run(f"the start of seed {seed}", arguments, start)
    arguments = f"method={method},seed={seed}"
    _run(f"{method}, seed {seed}", arguments, folder / run_name(method, seed), start)


def _run(
    title: str, arguments: str, workdir: pathlib.Path, start: pathlib.Path | None = None
) -> None:
    command = [
        sys.executable,
        str(REPOSITORY / "main.py"),
        f"--config={REPOSITORY}/configs/demo.py:{arguments}",
        f"--workdir={workdir}",
    ]
    if start is not None:
        command.append(f"--config.model.pretrained={start}")
    print(f"\n== {title}", flush=True)
    subprocess.run(command, check=True, cwd=REPOSITORY)


def read_scores(workdir: pathlib.Path) -> dict:
    """mIoU in percent by step, of the last and of the best evaluation, and IoU by class."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "miou" in line]
    return {
        "last": lines[-1]["miou"],
        "best": max(line["miou"] for line in lines),
        "curve": {line["step"]: line["miou"] for line in lines},
        "iou": lines[-1]["iou"],
    }


def predictions(workdir: pathlib.Path, method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and the run's predictions of the first validation scenes."""
    path = REPOSITORY / "configs" / "demo.py"
    spec = importlib.util.spec_from_file_location("demo_config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run = Run.build(module.get_config(f"method={method}"))
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        state = checkpoints.restore(run.abstract_state())
    examples = [run.partition.val[index] for index in range(PICTURES)]
    images, labels = (np.stack([e[name] for e in examples]) for name in ("image", "label"))
    return images, labels, run.evaluator.predictions(state.weights, images)


def draw(folder: pathlib.Path, methods: list[str], seed: int) -> pathlib.Path:
    """Writes the picture sheet of one seed."""
    columns, names = [], None
    for method in methods:
        images, labels, predicted = predictions(folder / run_name(method, seed), method)
        columns.append(predicted)
    from input_pipeline import scenes

    names = scenes.CLASS_NAMES
    colors = visualization.palette(len(names))
    rows = [
        [images[i], *(visualization.colorize(x[i], colors) for x in (labels, *columns))]
        for i in range(len(images))
    ]
    sheet = visualization.sheet(
        rows, ["image", "truth", *methods], class_names=names, palette=colors, scale=2
    )
    visualization.save_png(folder / "demo.png", sheet)
    return folder / "demo.png"


def table(results: dict[str, list[dict]]) -> str:
    """Markdown: one line a method, mIoU over the seeds."""
    lines = ["| method | mIoU, last | mIoU, best | seeds |", "| --- | --- | --- | --- |"]
    for method, runs in results.items():
        cells = []
        for key in ("last", "best"):
            cells.append(tables.mean_and_spread([run[key] for run in runs]))
        lines.append(f"| {method} | {cells[0]} | {cells[1]} | {len(runs)} |")
    return "\n".join(lines)


def next_commands(folder: pathlib.Path, name: str) -> str:
    """What can be done with the runs, to be typed in the folder of the project."""
    python, folder = (
        path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
        for path in (pathlib.Path(sys.executable), folder)
    )
    commands = (
        f"--mode=report --workdir={folder}",
        f"--mode=consensus --workdir={folder / name} --pair=barred_fish,spotted_fish",
        f"--mode=export --workdir={folder / name} --output=exported",
    )
    return "\n".join(["what to do next:", *(f"  {python} main.py {each}" for each in commands)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default="supervised,rcc")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--folder", type=pathlib.Path, default=REPOSITORY / "runs")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    methods = arguments.methods.split(",")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]

    results: dict[str, list[dict]] = {method: [] for method in methods}
    for seed in seeds:
        for method in methods:
            train(arguments.folder, method, seed)
            scores = read_scores(arguments.folder / run_name(method, seed))
            results[method].append({"seed": seed, **scores})
    picture = draw(arguments.folder, methods, seeds[0])
    if arguments.results:
        record = {**environment.describe(), "config": "configs/demo.py", "results": results}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\n{table(results)}\n\npictures: {picture}\n")
    print(next_commands(arguments.folder, run_name(methods[-1], seeds[0])))


if __name__ == "__main__":
    main()
