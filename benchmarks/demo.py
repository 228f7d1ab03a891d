"""Trains the demo's methods one after the other, compares them and draws their predictions.

    python benchmarks/demo.py --methods=supervised,rcc --seeds=0

Prints the expected time and shows one bar for all runs. Every run is
`main.py --config=configs/demo.py:method=...,seed=...`, started from the weights of a run on the
labels only, one for each seed. Interrupted runs are resumed, finished ones are only read. Prints
mIoU (last and best checkpoint, mean and standard deviation over the seeds) and writes `demo.png`:
image, truth and each method's prediction.
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
from rcc_jax import shipped  # noqa: E402
from rcc_jax.reporting import palettes, prediction_sheet, sheets, tables  # noqa: E402
from rcc_jax.reporting.pictures_page import PAGE  # noqa: E402

# Steps of the first run, on the labels, and of each run that starts from it.
STEPS = (200, 240)
# On two idle CPU cores: 5.5 minutes for the 3 runs and 680 steps of `make demo`. Steps include
# evaluations; the time per run is mostly compilation.
SECONDS_PER_STEP = 0.36
SECONDS_PER_RUN = 28


def run_name(method: str, seed: int) -> str:
    return f"demo-method={method},seed={seed}"


def start_name(seed: int) -> str:
    return f"demo-start,seed={seed}"


def runs(methods: list[str], seeds: list[int], steps: tuple[int, int]) -> list[tuple]:
    """Title, folder, arguments, start and steps of every run, in the order of execution."""
    found = []
    for seed in seeds:
        start, arguments = start_name(seed), f"method=supervised,seed={seed},steps={steps[0]}"
        found.append((f"the start of seed {seed}", start, arguments, None, steps[0]))
        for method in methods:
            arguments = f"method={method},seed={seed}"
            if steps[1] != STEPS[1]:
                arguments += f",steps={steps[1]}"
            name = run_name(method, seed)
            found.append((f"{method}, seed {seed}", name, arguments, start, steps[1]))
    return found


def train(folder: pathlib.Path, planned: list[tuple]) -> None:
    """Trains the unfinished runs, from weights that all methods of a seed share."""
    total = sum(run[-1] for run in planned)
    done = [steps_done(folder / run[1], run[-1]) for run in planned]
    print(expected_time(len(planned), total, total - sum(done)), flush=True)
    with Followed(total, sum(done)) as followed:
        for (title, name, arguments, start, steps), before in zip(planned, done, strict=True):
            command = [
                f"--config={shipped.CONFIGS / 'demo.py'}:{arguments}",
                f"--workdir={folder / name}",
            ]
            if start is not None:
                command.append(f"--config.model.pretrained={folder / start}")
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
    data = shipped.load("demo").get_config().data
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
    parser.add_argument("--methods", default="supervised,rcc")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--folder", type=pathlib.Path, default=REPOSITORY / "runs")
    parser.add_argument(
        "--steps", type=int, nargs=2, default=STEPS, help="of the start and of each method"
    )
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    methods = arguments.methods.split(",")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]

    train(arguments.folder, runs(methods, seeds, tuple(arguments.steps)))
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
