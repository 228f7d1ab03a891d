"""Training steps to time against each other, without the input pipeline."""

import argparse
import json
import pathlib
import sys
import time

import environment
import jax
import numpy as np
from flax import nnx

# `environment` has put the repository on the path.
from rcc_jax.distributed import meshes
from rcc_jax.methods import Method
from rcc_jax.methods.base import Batch
from rcc_jax.models import BACKBONES, DeepLabV3Plus
from rcc_jax.models.network import Network, Weights
from rcc_jax.training import optimizer, timing, train_state, train_step

NUM_CLASSES = 21
WARM_UP_STEPS = 2
NUM_STEPS = 10_000  # Of the schedule.
DTYPES = ("float32", "bfloat16")
SIZES = {
    "small": {"backbone": "resnet18", "width": 16, "crop": 65, "batch": 2, "pairs": 20},
    "full": {"backbone": "resnet50", "width": 64, "crop": 161, "batch": 2, "pairs": 20},
}


def synthetic_batch(
    rows: int,
    crop: int,
    seed: int = 0,
    *,
    labeled: int | None = None,
    num_classes: int = NUM_CLASSES,
) -> Batch:
    """A batch of noise with the input pipeline's shapes and types and every kind of mask."""
    rng, labeled = np.random.default_rng(seed), labeled or rows

    def image(count=rows):
        return rng.integers(0, 256, (count, crop, crop, 3)).astype(np.uint8)

    labels = rng.integers(0, num_classes, (labeled, crop, crop)).astype(np.uint8)
    labels[:, : crop // 16] = 255
    batch = {"labeled": {"image": image(labeled), "label": labels}}
    for stream in ("unlabeled", "partner"):
        valid = np.ones((rows, crop, crop), bool)
        valid[:, crop - crop // 16 :] = False
        batch[stream] = {"valid": valid, "weak": image(), "strong1": image(), "strong2": image()}
    box = np.array([crop // 4, crop // 4, crop // 2, 3 * crop // 4], np.int32)
    batch["unlabeled"]["boxes"] = np.broadcast_to(box, (rows, 2, 4)).copy()
    return batch


class Step:
    """A compiled training step with its state; `terms` are the loss terms of the first step."""

    def __init__(self, setup: "Setup", method: Method):
        self.state, self.batch = setup.state(method), setup.batch
        start = time.perf_counter()
        self.compiled = compiled_step(setup, method, self.state)
        self.compile_seconds = time.perf_counter() - start
        self.state, scalars = self.compiled(self.state, self.batch)
        self.terms = {name: float(value) for name, value in scalars.items()}
        for _ in range(WARM_UP_STEPS):
            self.seconds()

    def seconds(self) -> float:
        """Takes one step and returns how long it took."""
        start = time.perf_counter()
        self.state, scalars = self.compiled(self.state, self.batch)
        jax.block_until_ready((self.state, scalars))
        return time.perf_counter() - start

    def costs(self) -> dict[str, float]:
        """XLA's counts for the program; the body of a loop counts once."""
        if int(self.state.bad_step):
            sys.exit(f"not finite since step {int(self.state.bad_step)}: the times are invalid")
        counted, memory = self.compiled.cost_analysis(), self.compiled.memory_analysis()
        return {
            "flops": counted["flops"],
            "transcendentals": counted.get("transcendentals", 0.0),
            "argument_bytes": memory.argument_size_in_bytes,
            "temporary_bytes": memory.temp_size_in_bytes,
            "compile_seconds": round(self.compile_seconds, 1),
        }


class Setup:
    """The shared parts of both steps: network, optimizer, initial weights and batch."""

    def __init__(
        self,
        backbone: str,
        width: int,
        crop: int,
        batch: int,
        *,
        remat: bool = False,
        dtype: str = "float32",
    ):
        def build(key):
            return DeepLabV3Plus(
                NUM_CLASSES,
                backbone,
                width=width,
                decoder_channels=4 * width,
                remat=remat,
                dtype=dtype,
                rngs=nnx.Rngs(key),
            )

        def initial_weights(key):
            return Weights.of(build(key))

        self.mesh = meshes.make_mesh()
        meshes.check_batch_size(batch, 1, self.mesh.size, "--batch")
        key = jax.random.key(0)
        self.network = Network(nnx.graphdef(nnx.eval_shape(lambda: build(key))))
        self.weights = jax.device_get(jax.jit(initial_weights)(key))
        self.batch = meshes.place_batch(self.mesh, synthetic_batch(batch, crop))
        self.schedule = optimizer.poly_schedule(0.001, NUM_STEPS)
        self.optimizer = optimizer.sgd(
            self.schedule, head_multiplier=10.0, momentum=0.9, weight_decay=1e-4
        )

    def state(self, method: Method) -> train_state.TrainState:
        """A new state for each step, since a step donates its state."""
        state = train_state.create(
            self.weights,
            self.optimizer,
            jax.random.key(1),
            ema=False,
            term_names=train_step.watched_terms(method),
        )
        return jax.device_put(state, meshes.replicated(self.mesh))


def compiled_step(setup: Setup, method: Method, state: train_state.TrainState):
    """The compiled training step; takes nothing from `state` but shapes and types."""
    step = train_step.make_train_step(
        setup.network,
        method,
        setup.optimizer,
        setup.schedule,
        setup.mesh,
        num_steps=NUM_STEPS,
        steps_per_epoch=NUM_STEPS,
    )
    compiled = step.lower(state, setup.batch).compile()
    timing.return_freed_memory()  # As a training does.
    return compiled


def planned_bytes(setup: Setup, method: Method) -> int:
    """What XLA plans for the state, the batch and the temporary arrays of a step."""
    memory = compiled_step(setup, method, setup.state(method)).memory_analysis()
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes


def alternate(
    first: Step, second: Step, pairs: int, *, pause: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds [pairs] of two steps that take turns, in reversed order every time.

    A pause before each step lets the threads of another library stop spinning. After it comes a
    step that is not timed, since a virtual machine may have taken back the memory that the last
    step has freed, which a training never waits for.
    """
    times = np.zeros((pairs, 2))
    for pair in range(pairs):
        for index in (0, 1) if pair % 2 == 0 else (1, 0):
            step = (first, second)[index]
            if pause:
                time.sleep(pause)
                step.seconds()
            times[pair, index] = step.seconds()
    return times[:, 0], times[:, 1]


def median_interval(values: np.ndarray, draws: int = 10_000) -> tuple[float, float, float]:
    """Median and its percentile-bootstrap 95% interval."""
    drawn = np.random.default_rng(0).choice(values, (draws, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(np.median(values)), float(low), float(high)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the training."""
    parser.add_argument("--size", choices=SIZES, default="small", help="sets the other defaults")
    parser.add_argument("--backbone", choices=BACKBONES)
    parser.add_argument("--width", type=int, help="base width; the decoder is 4 times as wide")
    parser.add_argument("--crop", type=int, help="side of the square crop in pixels")
    parser.add_argument("--batch", type=int, help="labelled, and also unlabelled, images per step")
    parser.add_argument("--pairs", type=int, help="number of timed turns")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parses the command line and fills in the defaults of the size."""
    arguments = parser.parse_args()
    for name, value in SIZES[arguments.size].items():
        given = getattr(arguments, name)
        setattr(arguments, name, value if given is None else given)
    for name in ("width", "crop", "batch", "pairs"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name}={getattr(arguments, name)}: give at least 1")
    return arguments


def setting(arguments: argparse.Namespace) -> dict[str, int | str]:
    """The setting of the training, for printing and for records."""
    return {name: getattr(arguments, name) for name in SIZES["small"]}


def write_record(arguments: argparse.Namespace, **measured) -> None:
    """Writes versions, device, setting and measurements if the user named a file."""
    if arguments.results:
        record = {**environment.describe(), "setting": setting(arguments), **measured}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")
