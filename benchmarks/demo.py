"""Trains on the demo's labels alone and with other methods, compares them, draws their predictions.

    python benchmarks/demo.py --methods=rcc --seeds=0

Prints the expected time and shows one bar for all runs. Every run is
`main.py --config=configs/demo.py:method=...,seed=...`. The run on the labels alone comes first; the
other methods start from its weights after the first steps and end after as many steps in all.
Interrupted runs are resumed, finished ones are only read. Prints mIoU (last and best checkpoint,
mean and standard deviation over the seeds) and writes `demo.png`: image, truth and each method's
prediction.
"""

import argparse
import json
import math
import pathlib
import sys

import numpy as np
from PIL import Image

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.followed_runs import Followed, steps_done  # noqa: E402
from configs import demo  # noqa: E402
from rcc_jax import shipped  # noqa: E402
from rcc_jax.reporting import palettes, prediction_sheet, sheets, tables  # noqa: E402
from rcc_jax.reporting.pictures_page import PAGE  # noqa: E402

LABELS_ALONE = "supervised"
# On two idle CPU cores with AVX2, where `make demo` takes 5 minutes. Steps include evaluations; the
# time per run is mostly compilation.
SECONDS_PER_STEP = 0.18
SECONDS_PER_RUN = 28


def run_name(method: str, seed: int) -> str:
    return f"demo-method={method},seed={seed}"


def runs(methods: list[str], seeds: list[int], folder: pathlib.Path) -> list[tuple]:
    """Title, folder, arguments of main.py and steps of every run, in the order of execution."""
    found = []
    for seed in seeds:
        labels = folder / run_name(LABELS_ALONE, seed)
        for method in [LABELS_ALONE, *methods]:
            arguments, steps = f"method={method},seed={seed}", demo.STEPS
            command = [f"--config={shipped.CONFIGS / 'demo.py'}:{arguments}"]
            if method == LABELS_ALONE:
                steps += demo.START
            else:
                start = labels / "checkpoints" / str(demo.START)
                command.append(f"--config.model.pretrained={start}")
            workdir = folder / run_name(method, seed)
            command.append(f"--workdir={workdir}")
            found.append((f"{method}, seed {seed}", workdir, command, steps))
    return found


def train(planned: list[tuple]) -> None:
    """Trains the unfinished runs."""
    total = sum(run[-1] for run in planned)
    done = [steps_done(workdir, steps) for _, workdir, _, steps in planned]
    print(expected_time(len(planned), total, total - sum(done)), flush=True)
    with Followed(total, sum(done)) as followed:
        for (title, _, command, steps), before in zip(planned, done, strict=True):
            followed.run(title, command, steps, before)


def expected_time(count: int, total: int, left: int) -> str:
    """A line of text on the work to do and its expected time."""
    if not left:
        return f"all {count} runs are done; they are only read."
    seconds = left * SECONDS_PER_STEP + math.ceil(count * left / total) * SECONDS_PER_RUN
    minutes = math.ceil(seconds / 60)
    rest = "" if left == total else f", of which {left} are left"
    return (
        f"{count} runs, {total} steps{rest}: about {minutes} minute{'s'[: minutes != 1]} on two "
        "idle CPU cores, longer on busy ones. Ctrl-C stops it; the same command resumes."
    )


def read_scores(workdir: pathlib.Path) -> dict:
    """Reads mIoU in percent (last, best and by step) and the last IoU by class."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "miou" in line]
    return {
        "last": lines[-1]["miou"],
        "best": max(line["miou"] for line in lines),
        "curve": {line["step"]: line["miou"] for line in lines},
        "iou": lines[-1]["iou"],
    }


def draw(folder: pathlib.Path, methods: list[str], seed: int) -> pathlib.Path:
    """Writes the picture sheet of one seed, from the panels that its runs have saved."""
    panels = [last_panels(folder / run_name(method, seed)) for method in methods]
    rows = [[*scene[0][:2], *(panel[2] for panel in scene)] for scene in zip(*panels, strict=True)]
    data = demo.get_config().data
    sheet = sheets.sheet(
        [[np.asarray(Image.open(path).convert("RGB")) for path in row] for row in rows],
        ["image", "truth", *methods],
        class_names=data.class_names,
        palette=palettes.of_data(data),
        scale=2,
    )
    sheets.save_png(folder / "demo.png", sheet)
    return folder / "demo.png"


def last_panels(workdir: pathlib.Path) -> list[tuple[pathlib.Path, ...]]:
    """Image, truth and prediction of each validation scene that the last evaluation drew."""
    newest = max((workdir / "pictures").glob("step_*.png"))
    return prediction_sheet.saved(newest)


def table(results: dict[str, list[dict]]) -> str:
    """Markdown: one line per method, mIoU over the seeds."""
    lines = ["| method | mIoU, last | mIoU, best | seeds |", "| --- | --- | --- | --- |"]
    for method, runs in results.items():
        cells = []
        for key in ("last", "best"):
            cells.append(tables.mean_and_spread([run[key] for run in runs]))
        lines.append(f"| {method} | {cells[0]} | {cells[1]} | {len(runs)} |")
    return "\n".join(lines)


def next_commands(folder: pathlib.Path, name: str) -> str:
    """Commands to continue with, to be typed in the folder of the project."""
    python, folder = (
        path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
        for path in (pathlib.Path(sys.executable), folder)
    )
    commands = (
        f"--mode=report --workdir={folder}",
        f"--mode=consensus --workdir={folder / name} --pair=barred_fish,spotted_fish",
        f"--mode=export --workdir={folder / name} --output=exported",
    )
    return "\n".join(["next commands:", *(f"  {python} main.py {each}" for each in commands)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default="rcc", help="compared with the labels alone")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--folder", type=pathlib.Path, default=REPOSITORY / "runs")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    methods = arguments.methods.split(",")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]

    train(runs(methods, seeds, arguments.folder))
    methods.insert(0, LABELS_ALONE)
    results = {
        method: [
            {"seed": seed, **read_scores(arguments.folder / run_name(method, seed))}
            for seed in seeds
        ]
        for method in methods
    }
    picture = draw(arguments.folder, methods, seeds[0])
    if arguments.results:
        import environment  # Imported here because it loads JAX.

        record = {**environment.describe(), "config": "configs/demo.py", "results": results}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\n{table(results)}\n\npictures: {picture}")
    for method in methods:
        print(
            f"of {method} by step: {arguments.folder / run_name(method, seeds[0])}/pictures/{PAGE}"
        )
    print()
    print(next_commands(arguments.folder, run_name(methods[-1], seeds[0])))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
