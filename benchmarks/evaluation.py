"""Evaluation of images of many sizes: padded to a few shapes, and one image at a time.

    python benchmarks/evaluation.py --size=small

The images are drawn, with a mix of sizes that resembles PASCAL VOC's (`draw_sizes`). Ours pads
batches to at most `eval.max_shapes` shapes. The reference is the same evaluator without padding,
with one image per batch and one compilation per size. The first pass of each compiles; then they
take turns (A B, B A, ...), so that other load on the machine affects both alike, and each turn
gives one ratio. Finally the labels of both are compared pixel by pixel, and so are their mIoUs. The
truth for these is the reference's labels, with a random class in a quarter of the 8 x 8 squares.
"""

import argparse
import json
import pathlib
import time

import cv2
import environment
import jax
import jax.monitoring
import numpy as np
import steps
from flax import nnx

# `environment` has put the repository on the path.
from input_pipeline import NO_SHAPES, choose_shapes, count_sizes, evaluation_batches
from rcc_jax.distributed import meshes
from rcc_jax.evaluation.evaluator import Evaluator
from rcc_jax.evaluation.scores import scores
from rcc_jax.models import BACKBONES
from rcc_jax.models.network import Weights, normalize

SIZES = {
    "small": {"backbone": "resnet18", "width": 8, "longest": 100, "images": 240, "turns": 5},
    "full": {"backbone": "resnet50", "width": 64, "longest": 500, "images": 1449, "turns": 7},
}
CALIBRATION_STEPS = 30


def draw_sizes(count: int, longest: int) -> list[tuple[int, int]]:
    """Heights and widths: the longer side is `longest`, except for 3% that are up to 40% smaller.

    The shorter side is 3/4 of it (45%), 2/3 (20%) or a random share from 2/5 to 1 (35%). A quarter
    of the images are upright.
    """
    rng = np.random.default_rng(0)
    sizes = []
    for _ in range(count):
        long = longest if rng.random() < 0.97 else int(rng.integers(longest * 6 // 10, longest))
        kind = rng.choice(3, p=[0.45, 0.2, 0.35])
        short = (long * 3 // 4, long * 2 // 3, int(rng.integers(long * 2 // 5, long + 1)))[kind]
        sizes.append((long, short) if rng.random() < 0.25 else (short, long))
    return sizes


class DrawnImages:
    """A source of drawn images in memory, with masks of noise."""

    name = "drawn"

    def __init__(self, sizes: list[tuple[int, int]]):
        self.ids = [str(index) for index in range(len(sizes))]
        rng = np.random.default_rng(1)
        self._elements = [self._draw(size, rng) for size in sizes]

    @staticmethod
    def _draw(size, rng) -> dict[str, np.ndarray]:
        coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.float32)
        image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
        image += rng.normal(0, 20, image.shape)
        label = rng.integers(0, steps.NUM_CLASSES, size).astype(np.uint8)
        return {"image": np.clip(image, 0, 255).astype(np.uint8), "label": label}

    def __len__(self) -> int:
        return len(self._elements)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self._elements[index]

    def image_size(self, index: int) -> tuple[int, int]:
        return self._elements[index]["label"].shape


class Compilations:
    """Counts XLA's compilations since its creation."""

    def __init__(self):
        self.programs, self.seconds = 0, 0.0
        jax.monitoring.register_event_duration_secs_listener(self._note)

    def _note(self, event: str, seconds: float, **_) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.programs += 1
            self.seconds += seconds


class Way:
    """One way to evaluate all images, with its own evaluator."""

    def __init__(self, network, weights, source, batch_size: int, shapes=NO_SHAPES):
        self.shapes_seen: list[tuple] = []
        self._weights, self._source = weights, source
        self._options = {"batch_size": batch_size, "shapes": shapes}

        def predict(weights, images, sizes=None):
            self.shapes_seen.append(images.shape)  # Once per tracing, so once per compilation.
            return network.predict(weights, images, sizes)

        self._evaluator = Evaluator(
            predict, num_classes=steps.NUM_CLASSES, mesh=meshes.make_local_mesh()
        )

    def seconds(self) -> float:
        """Counts all images once and returns how long it took."""
        start = time.perf_counter()
        self._evaluator.confusion(self._weights, evaluation_batches(self._source, **self._options))
        return time.perf_counter() - start

    def first_pass(self) -> dict:
        """Runs the pass that compiles."""
        compiled = Compilations()
        seconds = self.seconds()
        return {
            "seconds": round(seconds, 2),
            "images_per_second": round(len(self._source) / seconds, 2),
            "network_compilations": len(self.shapes_seen),
            "compilations": compiled.programs,
            "compilation_seconds": round(compiled.seconds, 2),
        }

    def labels(self) -> dict[int, np.ndarray]:
        """The labels of each image by index."""
        found = {}
        for batch in evaluation_batches(self._source, **self._options):
            labels = self._evaluator.predictions(self._weights, batch["image"], batch.get("size"))
            for row in np.flatnonzero(batch["index"] >= 0):
                index = int(batch["index"][row])
                height, width = self._source.image_size(index)
                found[index] = labels[row, :height, :width]
        return found


def calibrated(setup: steps.Setup, source: DrawnImages, crop: int) -> Weights:
    """Random weights with BatchNorm statistics from the images, so that the labels vary."""

    @jax.jit
    def step(weights, images):
        model = nnx.merge(setup.network.graphdef, weights.params, weights.stats)
        logits = model(normalize(images), train=True)
        # So that no class is the most likely one everywhere.
        bias = weights.params["classifier"]["bias"] - logits.mean(axis=(0, 1, 2))
        params = {**weights.params, "classifier": {**weights.params["classifier"], "bias": bias}}
        return Weights(params, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))

    weights, rng = setup.weights, np.random.default_rng(2)
    for _ in range(CALIBRATION_STEPS):
        chosen = rng.integers(0, len(source), 4)
        weights = step(
            weights, np.stack([cv2.resize(source[i]["image"], (crop, crop)) for i in chosen])
        )
    return jax.device_get(weights)


def compare_labels(ours: dict[int, np.ndarray], exact: dict[int, np.ndarray]) -> dict:
    """The number of pixels whose labels differ, and mIoU of both against a similar truth."""
    rng, num_classes = np.random.default_rng(3), steps.NUM_CLASSES
    confusions, differing, pixels = np.zeros((2, num_classes, num_classes), np.int64), 0, 0
    for index, labels in exact.items():
        differing += int((ours[index] != labels).sum())
        pixels += labels.size
        squares = [-(-length // 8) for length in labels.shape]
        drawn = rng.integers(0, num_classes, squares).astype(np.uint8)
        wrong, drawn = (
            np.kron(part, np.ones((8, 8), np.uint8))[: labels.shape[0], : labels.shape[1]]
            for part in ((rng.random(squares) < 0.25).astype(np.uint8), drawn)
        )
        truth = np.where(wrong, drawn, labels)
        for confusion, guess in zip(confusions, (ours[index], labels), strict=True):
            np.add.at(confusion, (truth.ravel(), guess.ravel()), 1)
    names = [str(number) for number in range(num_classes)]
    mious = [scores(confusion, names).miou for confusion in confusions]
    return {
        "pixels": pixels,
        "differing_pixels": differing,
        "classes_predicted": int((confusions[1].sum(axis=0) > 0).sum()),
        "miou_padded": mious[0],
        "miou_one_at_a_time": mious[1],
        "miou_difference": mious[0] - mious[1],
    }


def measure(arguments: argparse.Namespace) -> dict:
    """The record of all measurements in the docstring of this file."""
    sizes = draw_sizes(arguments.images, arguments.longest)
    source = DrawnImages(sizes)
    setup = steps.Setup(arguments.backbone, arguments.width, 33, jax.device_count())
    weights = calibrated(setup, source, arguments.longest // 2)
    counts = count_sizes(source)
    start = time.perf_counter()
    shapes = choose_shapes(counts, arguments.max_shapes)
    choosing = time.perf_counter() - start
    pixels = sum(height * width for height, width in sizes)
    ours = Way(setup.network, weights, source, arguments.batch, shapes)
    padded = sum(
        batch["label"].size
        for batch in evaluation_batches(source, batch_size=arguments.batch, shapes=shapes)
    )
    theirs = Way(setup.network, weights, source, 1)
    record = {
        "distinct_sizes": len(counts),
        "most_common_sizes": counts.most_common(4),
        "shapes": shapes.sizes,
        "seconds_to_choose_shapes": round(choosing, 3),
        "pixels_of_batches_over_those_of_images": round(padded / pixels, 3),
        "first_pass": {"padded": ours.first_pass(), "one_at_a_time": theirs.first_pass()},
    }
    print(json.dumps(record, indent=1), flush=True)
    times = np.array([
        [way.seconds() for way in ((ours, theirs) if turn % 2 == 0 else (theirs, ours))]
        for turn in range(arguments.turns)
    ])  # fmt: skip
    times[1::2] = times[1::2, ::-1]
    ratio, low, high = steps.median_interval(times[:, 1] / times[:, 0])
    firsts = record["first_pass"]
    return {
        **record,
        "first_pass_ratio": round(
            firsts["one_at_a_time"]["seconds"] / firsts["padded"]["seconds"], 2
        ),
        "warm": {
            "padded_images_per_second": round(len(source) / np.median(times[:, 0]), 2),
            "one_at_a_time_images_per_second": round(len(source) / np.median(times[:, 1]), 2),
            "ratio": round(ratio, 3),
            "ratio_interval": [round(low, 3), round(high, 3)],
        },
        "exactness": compare_labels(ours.labels(), theirs.labels()),
        "network_compilations_in_all": [len(way.shapes_seen) for way in (ours, theirs)],
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small", help="sets the other defaults")
    parser.add_argument("--backbone", choices=BACKBONES)
    parser.add_argument("--width", type=int, help="base width; the decoder is 4 times as wide")
    parser.add_argument("--longest", type=int, help="longer side of the images in pixels")
    parser.add_argument("--images", type=int)
    parser.add_argument("--turns", type=int, help="timed warm passes of each")
    parser.add_argument("--batch", type=int, default=8, help="images of a padded batch")
    parser.add_argument("--max_shapes", type=int, default=8)
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    for name, value in SIZES[arguments.size].items():
        given = getattr(arguments, name)
        setattr(arguments, name, value if given is None else given)
    lowest = {"width": 1, "longest": 40, "images": 1, "turns": 1, "batch": 1, "max_shapes": 1}
    for name, bound in lowest.items():
        if getattr(arguments, name) < bound:
            parser.error(f"--{name}={getattr(arguments, name)}: give at least {bound}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    setting = {name: value for name, value in vars(arguments).items() if name != "results"}
    print(setting, flush=True)
    record = {**environment.describe(), "setting": setting, **measure(arguments)}
    text = json.dumps(record, indent=1)
    print(text)
    if arguments.results:
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(text + "\n")


if __name__ == "__main__":
    main()
