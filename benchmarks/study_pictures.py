"""Predictions of a study's methods side by side, and the class consensus of one of its runs.

    python benchmarks/study_pictures.py --workdir=runs/NAME --name=camvid-cpu --part=1_8 --seed=0

Reads the finished runs of one partition and seed below --workdir. Writes `predictions.png`: images
spread evenly over --list, with the truth and the predictions of each method's last checkpoint. Also
writes `consensus.svg` and `pairs.csv` of the RCC run: the mean J over the validation images
(`main.py --mode=consensus`).
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from configs import recorded  # noqa: E402
from rcc_jax import build  # noqa: E402
from rcc_jax.errors import ConfigError  # noqa: E402
from rcc_jax.reporting import palettes, run_results, sheets  # noqa: E402
from rcc_jax.segmenter import Segmenter  # noqa: E402
from rcc_jax.workdir.folder import RESULT  # noqa: E402

RESULTS = REPOSITORY / "benchmarks" / "results"
METHODS = (
    "supervised", "fixmatch", "unimatch", "cc", "rcc", "unimatch_v2", "unimatch_v2 + rcc"
)  # fmt: skip


def find_runs(folder: pathlib.Path, part: str, seed: int) -> dict[str, pathlib.Path]:
    """Folders of the finished runs of `METHODS` without settings of their own, in order."""
    results = {
        path.parent: run_results.read_result(path.parent)
        for path in sorted(folder.glob(f"**/{RESULT}"))
    }
    settings = {
        path: result.method.split(", ")
        for path, result in results.items()
        if (result.partition, result.seed) == (part, seed)
    }
    if not settings:
        raise ConfigError(f"--workdir={folder}: no finished run of {part}, seed {seed}.")
    shared = {"same steps"} | set.intersection(*map(set, settings.values()))
    found = {}
    for path, (name, *rest) in settings.items():
        if shared.issuperset(rest):
            found[name] = path
    return {name: found[name] for name in METHODS if name in found}


def predictions(runs: dict[str, pathlib.Path], images: str, count: int) -> np.ndarray:
    """The sheet: a row per image; the columns are the image, the truth and each method."""
    first = next(iter(runs.values()))
    config = recorded.get_config(first)
    partition = build.open_partition(config, first, images=images)
    places = np.linspace(0, len(partition.val) - 1, count).round().astype(int)
    examples = [partition.val[int(place)] for place in places]
    colors = palettes.of_data(config.data)
    columns = [[example["image"] for example in examples]]
    labels = [[example["label"] for example in examples]]
    for workdir in runs.values():
        segmenter = Segmenter.from_workdir(workdir)
        labels.append([segmenter(example["image"]) for example in examples])
    columns += [[sheets.colorize(each, colors) for each in column] for column in labels]
    return sheets.sheet(
        list(zip(*columns, strict=True)),
        ["image", "truth", *runs],
        class_names=partition.class_names,
        palette=colors,
    )


def consensus(workdir: pathlib.Path, output: pathlib.Path) -> None:
    """Writes the mean J of a run over its validation images, as made by main.py."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(REPOSITORY / "main.py"), "--mode=consensus"]
        subprocess.run([*command, f"--workdir={workdir}", f"--output={folder}"], check=True)
        for name in ("consensus.svg", "pairs.csv"):
            shutil.copyfile(pathlib.Path(folder) / name, output / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="folder of the runs")
    parser.add_argument("--name", required=True, help="folder below benchmarks/results")
    parser.add_argument("--part", default="1_8", help="name of the partition")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", default="splits/test.txt", help="images, as data.val names them")
    parser.add_argument("--count", type=int, default=5, help="rows of the sheet")
    arguments = parser.parse_args()
    output = RESULTS / arguments.name
    output.mkdir(parents=True, exist_ok=True)
    try:
        runs = find_runs(arguments.workdir, arguments.part, arguments.seed)
        sheet = predictions(runs, arguments.list, arguments.count)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    sheets.save_png(output / "predictions.png", sheet)
    if "rcc" in runs:
        consensus(runs["rcc"], output)


if __name__ == "__main__":
    main()
