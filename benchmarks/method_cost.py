"""Seconds and memory of a training step of every method, in turns, for one configuration.

    python benchmarks/method_cost.py --config=configs/msrc.py:20,backbone=dinov2_small
    python benchmarks/method_cost.py --methods=fixmatch,fixmatch+rank --dtypes=float32,bfloat16

The batch is noise and the weights are random, so that neither data nor weights are needed. One
line a method and type: median seconds of a step, their ratio to the first line's, measured in
turns, with its 95% interval, and memory: of state and batch, and what the compiled step needs
beside them. METHOD+rank is the method with RCC's term. A step of ST or ST++ is one of supervised
training. PrevMatch is measured in the middle of a run, with all its snapshots; since each step
draws how many of them label it, take more turns.
"""

import argparse
import json
import pathlib

import environment
import jax
import numpy as np
import steps

# `environment` has put the repository on the path.
from input_pipeline.sources import scenes
from rcc_jax.config import file
from rcc_jax.distributed import meshes
from rcc_jax.methods import METHODS
from rcc_jax.training.run import Run

# Those that train in stages have no step of their own.
MEASURED = [name for name, method in METHODS.items() if not method.stages]


def configured(given: str, method: str, dtype: str):
    """The configuration NAME[:ARGUMENTS] with a method, without need of data or weights."""
    method = f"method={method.replace('+', ',consensus=')}"
    config = file.load(f"{given}{',' if ':' in given else ':'}{method}").unlock()
    config.data.update(
        {
            "source": "scenes", "labeled": "0:20", "unlabeled": "100:200", "val": "300:310",
            "num_classes": len(scenes.CLASS_NAMES), "class_names": scenes.CLASS_NAMES,
            "label_map": "",
        }
    )  # fmt: skip
    config.model.dtype, config.model.pretrained = dtype, ""
    config.method.second_pretrained = ""
    return config


class Setup:
    """What `steps.Step` needs, from a configuration."""

    def __init__(self, config):
        self.run = Run.build(config)
        self.network, self.mesh = self.run.network, self.run.mesh
        self.optimizer, self.schedule = self.run.optimizer, self.run.schedule
        rows, crop = config.train.batch_size, config.data.crop_size
        batch = steps.synthetic_batch(
            rows,
            crop,
            labeled=rows * self.run.method.labeled_per_unlabeled,
            num_classes=config.data.num_classes,
        )
        self.batch = meshes.place_batch(self.mesh, batch)

    def state(self, method):
        state = self.run.initial_state(print)
        if method is None or method.name != "prevmatch":
            return state
        memory = {**state.memory, "taken": jax.numpy.full_like(state.memory["taken"], 100)}
        trained = self.network.trained(state.weights)
        memory["snapshots"] = jax.tree.map(
            lambda places, x: jax.numpy.broadcast_to(x, places.shape), memory["snapshots"], trained
        )
        middle = jax.numpy.full_like(state.step, steps.NUM_STEPS // 2)
        return state.replace(step=middle, memory=jax.device_put(memory, state.step.sharding))


def main() -> None:
    environment.ask_for_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/msrc.py:20")
    parser.add_argument("--methods", default=",".join(MEASURED))
    parser.add_argument("--dtypes", default="float32")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--set", default="{}", help="JSON of other fields by dotted name")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    timed = []
    for dtype in arguments.dtypes.split(","):
        for method in arguments.methods.split(","):
            config = configured(arguments.config, method, dtype)
            config.update_from_flattened_dict(json.loads(arguments.set))
            setup = Setup(config)
            timed.append((f"{method}, {dtype}", steps.Step(setup, setup.run.method), []))
    for turn in range(arguments.turns):
        for _, step, seconds in timed if turn % 2 == 0 else reversed(timed):
            seconds.append(step.seconds())
    first = np.array(timed[0][2])
    rows = []
    for name, step, seconds in timed:
        costs = step.costs()
        ratio, low, high = steps.median_interval(np.array(seconds) / first)
        rows.append(
            {
                "step": name,
                "seconds": float(np.median(seconds)),
                "ratio": ratio,
                "ratio_interval": [low, high],
                "argument_bytes": costs["argument_bytes"],
                "temporary_bytes": costs["temporary_bytes"],
                "compile_seconds": costs["compile_seconds"],
            }
        )
        print(
            f"{name:30s} {rows[-1]['seconds']:.3f} s  ratio {ratio:.2f} ({low:.2f} to {high:.2f})  "
            f"{costs['argument_bytes'] / 1e6:.0f} + {costs['temporary_bytes'] / 1e6:.0f} MB"
        )
    if arguments.results:
        record = {**environment.describe(), "config": arguments.config, "steps": rows}
        record |= {"turns": arguments.turns, "fields": json.loads(arguments.set)}
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
