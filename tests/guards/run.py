"""A short whole run on drawn scenes, and the band in which its mIoU must lie.

The band is the median of nine recorded seeds plus and minus four standard deviations, estimated
from the median distance to the median. Not the mean, since one run of nine ended ten points low:
seed 0, by chance, for it ends at 76.6 if its learning rate changes by 2e-5 in either direction.
Another processor or number of cores rounds differently, which changes a run as much as another seed
does. Therefore the guard tests the median of three runs.
"""

import json
import pathlib
import statistics

import ml_collections
from PIL import Image

from configs import folder
from input_pipeline.sources import scenes
from tests.support import commands
from tests.support.runs import metrics

# Compiled as a user's run is, unlike the other tests, since it has many steps.
ENVIRONMENT = {**commands.ENVIRONMENT, "XLA_FLAGS": " ".join(commands.OWN_FLAGS)}
RECORD = pathlib.Path(__file__).with_name("run.json")
SEEDS = tuple(range(9))
TESTED = (0, 1, 2)  # The seeds whose median is tested.
WIDTH = 4  # Of the band to each side, in standard deviations.
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
    "train.log_every": 20,
    "train.compilation_cache": "",
    "eval.every_steps": STEPS,
    "eval.pictures": 0,
}


def draw(root: pathlib.Path) -> None:
    """Writes the scenes as files, with masks except for the unlabelled ones, and the lists."""
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


def train(root: pathlib.Path, workdir: pathlib.Path, seed: int) -> float:
    """Trains with main.py on what `draw` wrote; returns the mIoU in percent."""
    fields = {**FIELDS, "data.root": root, "seed": seed}
    flags = ["--config=configs/folder.py:method=rcc", f"--workdir={workdir}"]
    flags += [f"--config.{name}={value}" for name, value in fields.items()]
    # About a minute on one core; others may want it too.
    commands.finish(commands.start_afresh(*flags, environment=ENVIRONMENT), timeout=1200)
    return metrics(workdir)[-1]["miou"]


def in_deviations(miou: float) -> float:
    """How far a mIoU is from the recorded median, in recorded standard deviations."""
    recorded = json.loads(RECORD.read_text())["miou"]
    middle = statistics.median(recorded)
    # Of a normal distribution, half lies within 0.6745 standard deviations.
    deviation = statistics.median(abs(each - middle) for each in recorded) / 0.6745
    return (miou - middle) / deviation
