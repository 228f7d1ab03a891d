"""Scores of a run before and after BatchNorm's statistics are those of unlabelled images.

    python benchmarks/adapted_statistics.py --workdir=runs/NAME --unlabeled=splits/unlabeled.txt \
        --images=splits/test.txt

Training on unlabelled images also moves BatchNorm's running statistics towards them. This script
shows what that alone is worth: it takes a run on the labels alone, replaces the statistics by the
mean of those of batches of unlabelled images, and scores both networks. No weight is trained, and
masks named in the list are not used.
"""

import argparse
import json
import pathlib
import sys

import jax
import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import environment  # noqa: E402

from configs import recorded  # noqa: E402
from rcc_jax import build  # noqa: E402
from rcc_jax.evaluation.scores import scores  # noqa: E402
from rcc_jax.models.network import Weights  # noqa: E402
from rcc_jax.training.run import Run  # noqa: E402
from rcc_jax.training.train_state import TrainState  # noqa: E402
from rcc_jax.training.validation import evaluate_confusion  # noqa: E402
from rcc_jax.workdir import checkpoint_paths  # noqa: E402

MOVES = 0.1  # The share by which a pass in training mode moves the running statistics.


def of_images(run: Run, weights: Weights, images, batch_size: int) -> Weights:
    """The weights with the mean of the statistics of full batches.

    Args:
        run: The run.
        weights: Its weights.
        images: A source of images of one size.
        batch_size: Images of a batch, at least 2.
    """

    @jax.jit
    def of_batch(images):
        student = run.network.student(weights)
        student(images)
        # The running statistics are (1 - MOVES) old + MOVES new.
        return jax.tree.map(
            lambda moved, old: (moved - (1 - MOVES) * old) / MOVES, student.stats(), weights.stats
        )

    batches = range(0, len(images) - batch_size + 1, batch_size)
    found = [
        jax.device_get(
            of_batch(np.stack([images[start + row]["image"] for row in range(batch_size)]))
        )
        for start in batches
    ]
    stats = jax.tree.map(lambda *each: np.mean(each, axis=0), *found)
    return Weights(weights.params, stats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--unlabeled", required=True, help="list of images of one size")
    parser.add_argument("--images", required=True, help="list of images and masks to score on")
    parser.add_argument("--batch", type=int, default=8, help="images per pass")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    config = recorded.get_config(arguments.workdir)
    build.set_up_jax(config)
    run = Run.build(config, arguments.workdir, images=arguments.images)
    # A method on the labels alone opens no unlabelled images.
    other = recorded.get_config(arguments.workdir)
    other.method.name, other.data.unlabeled = "fixmatch", arguments.unlabeled
    unlabeled = build.open_partition(other, None).unlabeled
    path = checkpoint_paths.find_named(config, str(arguments.workdir), "latest")
    saved, step = checkpoint_paths.restore_path(path, run.abstract_state().saved())
    weights = TrainState(**saved).weights
    networks = {
        "statistics of the training": weights,
        "statistics of the unlabelled images": of_images(run, weights, unlabeled, arguments.batch),
    }
    found = {}
    for name, each in networks.items():
        result = scores(evaluate_confusion(run, each), run.partition.class_names)
        found[name] = {"miou": result.miou, "iou": result.iou}
        print(f"{name}, step {step}: mIoU {result.miou:.2f}\n{result.table()}", flush=True)
    if arguments.results:
        record = {**environment.describe(), "run": arguments.workdir.name, "step": step}
        record |= {"images": arguments.images, "unlabeled": arguments.unlabeled, "scores": found}
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
