"""A short whole run on drawn scenes, and the bands in which its numbers must lie.

A band is the mean of five seeds plus and minus four standard deviations. There is one for the
final mIoU, and one each for the loss of the strong views and the gradient norm, means over the
second half of the run. Another processor or number of cores rounds otherwise, which makes another
run, as another seed does: about one in fifty leaves a given band by chance, since five seeds say
little about the spread.
"""

import json
import os
import pathlib
import statistics
from collections.abc import Mapping

import ml_collections
from PIL import Image

from configs import folder
from input_pipeline import scenes
from tests import commands
from tests.runs import metrics

# Compiled as a user's run is, unlike the other tests: these steps are many.
ENVIRONMENT = {**commands.ENVIRONMENT, "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}
RECORD = pathlib.Path(__file__).with_name("run.json")
SEEDS = (0, 1, 2, 3, 4)
WIDTH = 4  # Of a band to each side, in standard deviations.
STEPS = 600
# Numbers of scenes.
PARTS = {"labeled": range(60), "unlabeled": range(1000, 1200), "val": range(100_000, 100_060)}
FIELDS = {
    "data.labeled": "labeled.txt",
    "data.unlabeled": "unlabeled.txt",
    "data.val": "val.txt",
    "data.num_classes": 4,
    # The two kinds of a pair are one class: that is learned in a minute.
    "data.label_map": "0:0,1:1,2:1,3:2,4:2,5:3,6:3",
    "data.crop_size": 64,
    "data.num_threads": 1,
    "model.backbone": "resnet18",
    "model.width": 12,
    "model.decoder_channels": 24,
    "model.aspp_rates": (1, 2, 3),
    "optimizer.learning_rate": 0.05,
    "optimizer.head_multiplier": 1.0,
    "train.batch_size": 4,
    "train.num_steps": STEPS,
    "train.log_every": 1,
    "train.compilation_cache": "",
    "eval.every_steps": STEPS,
    "eval.pictures": 0,
}


def draw(root: pathlib.Path) -> None:
    """Writes the scenes as files, with masks but for the unlabelled ones, and the lists."""
    root.mkdir()
    for part, numbers in PARTS.items():
        lines = []
        for number in numbers:
            image, label = scenes.draw_scene(number)
            Image.fromarray(image).save(root / f"{number}.png", compress_level=1)
            lines.append(f"{number}.png")
            if part != "unlabeled":
                Image.fromarray(label).save(root / f"{number}_label.png")
                lines[-1] += f" {number}_label.png"
        (root / f"{part}.txt").write_text("\n".join(lines) + "\n")


def config(root: pathlib.Path, seed: int) -> ml_collections.ConfigDict:
    """The configuration of `train`."""
    made = folder.get_config("method=rcc")
    made.update_from_flattened_dict({**FIELDS, "data.root": str(root), "seed": seed})
    return made


def train(root: pathlib.Path, workdir: pathlib.Path, seed: int) -> dict[str, float]:
    """Trains with main.py on what `draw` wrote; returns the numbers."""
    fields = {**FIELDS, "data.root": root, "seed": seed}
    flags = ["--config=configs/folder.py:method=rcc", f"--workdir={workdir}"]
    flags += [f"--config.{name}={value}" for name, value in fields.items()]
    # Above a minute on one core; others may want it too.
    commands.finish(commands.start(*flags, environment=ENVIRONMENT), timeout=1200)
    return measured(workdir)


def measured(workdir: pathlib.Path) -> dict[str, float]:
    """The numbers of a finished run."""
    lines = metrics(workdir)
    late = [line for line in lines if "loss" in line and line["step"] > STEPS // 2]
    strong = [(line["loss_strong1"] + line["loss_strong2"]) / 2 for line in late]
    return {
        "mIoU": lines[-1]["miou"],
        "strong loss": statistics.fmean(strong),
        "gradient norm": statistics.fmean(line["gradient_norm"] for line in late),
    }


def in_deviations(numbers: Mapping[str, float]) -> dict[str, float]:
    """How far each number is from the recorded mean, in recorded standard deviations."""
    values = json.loads(RECORD.read_text())["values"]
    return {
        name: (numbers[name] - statistics.fmean(of_seeds)) / statistics.stdev(of_seeds)
        for name, of_seeds in values.items()
    }


def outside(numbers: Mapping[str, float]) -> list[str]:
    """A line for each number that has left its band."""
    return [
        f"{name} = {numbers[name]:.4g} is {distance:+.1f} standard deviations from the mean"
        for name, distance in in_deviations(numbers).items()
        if not abs(distance) <= WIDTH
    ]
