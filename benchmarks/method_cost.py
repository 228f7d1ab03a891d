"""Seconds and memory of a training step of every method, in turns, for one configuration.

    python benchmarks/method_cost.py --config=configs/msrc.py:20,backbone=dinov2_small
    python benchmarks/method_cost.py --methods=unimatch,rcc --dtypes=float32,bfloat16

The batch is noise and the weights are random, so that neither data nor weights are needed. One
line a method and type: median seconds of a step, their ratio to the first line's, measured in
turns, and the memory that the compiled step needs beside its arguments.
"""

import argparse
import importlib.util
import json
import pathlib
import sys
import time

import environment
import jax
import numpy as np

# `environment` has put the repository on the path.
from input_pipeline.sources import scenes
from rcc_jax.distributed import meshes
from rcc_jax.methods import METHODS
from rcc_jax.training.run import Run


def load(text: str):
    """The module and the arguments of FILE:ARGUMENTS."""
    path, _, arguments = text.partition(":")
    spec = importlib.util.spec_from_file_location("config", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(pathlib.Path(path).resolve().parents[1]))
    spec.loader.exec_module(module)
    return module, arguments


def noise(run: Run) -> dict:
    """A batch with the shapes and types of the input pipeline, of noise with simple labels."""
    rng = np.random.default_rng(0)
    crop, rows = run.config.data.crop_size, run.config.train.batch_size

    def image(count=rows):
        return rng.integers(0, 256, (count, crop, crop, 3)).astype(np.uint8)

    views, method = run.method.views, run.method
    labeled = rows * method.labeled_per_unlabeled
    classes = run.config.data.num_classes
    batch = {"labeled": {"image": image(labeled)}}
    labels = rng.integers(0, classes, (labeled, 4, 4)).astype(np.uint8)
    side = -(-crop // 4)
    batch["labeled"]["label"] = labels.repeat(side, 1).repeat(side, 2)[:, :crop, :crop]
    if views is None:
        return batch
    names = ("weak", *(f"strong{i + 1}" for i in range(views.strong)))
    for stream in ("unlabeled", "partner"):
        batch[stream] = {name: image() for name in names}
        batch[stream]["valid"] = np.ones((rows, crop, crop), bool)
    box = np.array([crop // 4, crop // 4, crop // 2, 3 * crop // 4], np.int32)
    batch["unlabeled"]["boxes"] = np.broadcast_to(box, (rows, views.strong, 4)).copy()
    return batch


def without_data(config, dtype: str) -> None:
    """Replaces data and weights of a configuration, so that neither is needed."""
    config.data.update(
        {
            "source": "scenes", "labeled": "0:20", "unlabeled": "100:200", "val": "300:310",
            "num_classes": len(scenes.CLASS_NAMES), "class_names": scenes.CLASS_NAMES,
            "label_map": "",
        }
    )  # fmt: skip
    config.model.dtype, config.model.pretrained = dtype, ""


class Timed:
    """A compiled step and the seconds that it took."""

    def __init__(self, config, name: str):
        run = Run.build(config)
        self.name, self.batch, self.seconds = name, meshes.place_batch(run.mesh, noise(run)), []
        self.state = run.initial_state(print)
        start = time.perf_counter()
        self.compiled = run.train_step().lower(self.state, self.batch).compile()
        self.compile_seconds = time.perf_counter() - start
        self.memory = self.compiled.memory_analysis().temp_size_in_bytes
        self.take()
        self.seconds.clear()

    def take(self) -> None:
        start = time.perf_counter()
        self.state, scalars = self.compiled(self.state, self.batch)
        jax.block_until_ready(scalars)
        self.seconds.append(time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/msrc.py:20")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--dtypes", default="float32")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--set", default="{}", help="JSON of other fields by dotted name")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    module, cell = load(arguments.config)
    timed = []
    for dtype in arguments.dtypes.split(","):
        for method in arguments.methods.split(","):
            config = module.get_config(",".join(filter(None, (cell, f"method={method}"))))
            without_data(config, dtype)
            config.update_from_flattened_dict(json.loads(arguments.set))
            timed.append(Timed(config, f"{method}, {dtype}"))
            print(f"{timed[-1].name}: compiled in {timed[-1].compile_seconds:.0f} s", flush=True)
    for turn in range(arguments.turns):
        for each in timed if turn % 2 == 0 else reversed(timed):
            each.take()
    rows = []
    for each in timed:
        ratio = np.median(np.array(each.seconds) / np.array(timed[0].seconds))
        rows.append(
            {
                "step": each.name,
                "seconds": float(np.median(each.seconds)),
                "ratio": float(ratio),
                "temporary_bytes": each.memory,
                "compile_seconds": round(each.compile_seconds, 1),
            }
        )
        print(
            f"{each.name:30s} {rows[-1]['seconds']:.3f} s  ratio {ratio:.2f}  "
            f"{each.memory / 1e6:.0f} MB"
        )
    if arguments.results:
        record = {**environment.describe(), "config": arguments.config, "steps": rows}
        record |= {"turns": arguments.turns, "fields": json.loads(arguments.set)}
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
