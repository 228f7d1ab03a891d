"""What RCC's term costs: training steps of UniMatch and RCC, alternating in one process.

    python benchmarks/step_overhead.py --size=small

Both steps train the same network on the same batch. They take turns (A B, B A, A B, ...), so what
else the machine does in the meantime meets both alike, and each turn gives one ratio. Printed are
the median seconds of both, the median ratio with a bootstrap 95% interval, and what XLA counts in
the compiled programs: floating-point operations and temporary memory.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import environment
import jax
import numpy as np
from flax import nnx

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from rcc_jax import (  # noqa: E402
    distributed,
    methods,
    optimizer,
    presets,
    train_state,
    train_step,
)
from rcc_jax.errors import ConfigError  # noqa: E402
from rcc_jax.models import BACKBONES, DeepLabV3Plus  # noqa: E402
from rcc_jax.train_state import Weights  # noqa: E402

NUM_CLASSES = 21
WARM_UP_STEPS = 2
SIZES = {
    "small": {"backbone": "resnet18", "width": 16, "crop": 65, "batch": 2, "pairs": 20},
    "full": {"backbone": "resnet50", "width": 64, "crop": 161, "batch": 2, "pairs": 20},
}
DETERMINISTIC_FLAG = "--xla_gpu_deterministic_ops=true"


def synthetic_batch(rows: int, crop: int, seed: int = 0) -> train_step.Batch:
    """A batch of the input pipeline's shapes and types, of noise, with every kind of mask."""
    rng = np.random.default_rng(seed)

    def image():
        return rng.integers(0, 256, (rows, crop, crop, 3)).astype(np.uint8)

    labels = rng.integers(0, NUM_CLASSES, (rows, crop, crop)).astype(np.uint8)
    labels[:, : crop // 16] = 255
    batch = {"labeled": {"image": image(), "label": labels}}
    for stream in ("unlabeled", "partner"):
        valid = np.ones((rows, crop, crop), bool)
        valid[:, crop - crop // 16 :] = False
        batch[stream] = {"valid": valid, "weak": image(), "strong1": image(), "strong2": image()}
    box = np.array([crop // 4, crop // 4, crop // 2, 3 * crop // 4], np.int32)
    batch["unlabeled"]["boxes"] = np.broadcast_to(box, (rows, 2, 4)).copy()
    return batch


class Step:
    """A compiled training step with the state that it moves on."""

    def __init__(self, setup: "Setup", method: methods.Method):
        self.state, self.batch = setup.state(method), setup.batch
        step = train_step.make_train_step(
            setup.network, method, setup.optimizer, setup.schedule, setup.mesh
        )
        start = time.perf_counter()
        self.compiled = step.lower(self.state, self.batch).compile()
        self.compile_seconds = time.perf_counter() - start
        for _ in range(WARM_UP_STEPS):
            self.seconds()

    def seconds(self) -> float:
        """Takes one step and returns how long it took."""
        start = time.perf_counter()
        self.state, scalars = self.compiled(self.state, self.batch)
        jax.block_until_ready((self.state, scalars))
        return time.perf_counter() - start

    def costs(self) -> dict[str, float]:
        """What XLA counts in the program; loops count once."""
        if int(self.state.bad_step):
            sys.exit(f"not finite since step {int(self.state.bad_step)}: the times mean nothing")
        counted = self.compiled.cost_analysis()
        return {
            "flops": counted["flops"],
            "transcendentals": counted.get("transcendentals", 0.0),
            "temporary_bytes": self.compiled.memory_analysis().temp_size_in_bytes,
            "compile_seconds": round(self.compile_seconds, 1),
        }


class Setup:
    """What both steps share: network, optimizer, initial weights and batch."""

    def __init__(self, backbone: str, width: int, crop: int, batch: int):
        def build(key):
            return DeepLabV3Plus(
                NUM_CLASSES, backbone, width=width, decoder_channels=4 * width, rngs=nnx.Rngs(key)
            )

        def initial_weights(key):
            _, params, stats = nnx.split(build(key), nnx.Param, nnx.BatchStat)
            return Weights(nnx.to_pure_dict(params), nnx.to_pure_dict(stats))

        self.mesh = distributed.make_mesh()
        distributed.check_batch_size(batch, 1, self.mesh.size, "--batch")
        key = jax.random.key(0)
        self.network = train_step.Network(nnx.graphdef(nnx.eval_shape(lambda: build(key))))
        self.weights = jax.device_get(jax.jit(initial_weights)(key))
        self.batch = distributed.place_batch(self.mesh, synthetic_batch(batch, crop))
        self.schedule = optimizer.poly_schedule(0.001, 10_000)
        self.optimizer = optimizer.sgd(self.schedule, head_multiplier=10.0)

    def state(self, method: methods.Method) -> train_state.TrainState:
        """A state of its own for every step, since a step donates it."""
        state = train_state.create(
            self.weights,
            self.optimizer,
            jax.random.key(1),
            ema=False,
            term_names=train_step.watched_terms(method),
        )
        return jax.device_put(state, distributed.replicated(self.mesh))


def alternate(first: Step, second: Step, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds [pairs] of two steps that take turns, the order reversed every time."""
    times = np.zeros((pairs, 2))
    for pair in range(pairs):
        for index in (0, 1) if pair % 2 == 0 else (1, 0):
            times[pair, index] = (first, second)[index].seconds()
    return times[:, 0], times[:, 1]


def median_interval(values: np.ndarray, draws: int = 10_000) -> tuple[float, float, float]:
    """Median and its percentile-bootstrap 95% interval."""
    drawn = np.random.default_rng(0).choice(values, (draws, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(np.median(values)), float(low), float(high)


def measure(arguments: argparse.Namespace) -> list[dict]:
    """One record for each number of players."""
    setup = Setup(arguments.backbone, arguments.width, arguments.crop, arguments.batch)
    unimatch = Step(setup, methods.Method(**presets.PRESETS["unimatch"]))
    records = []
    for top_n in arguments.top_n:
        rcc = Step(setup, methods.Method(**presets.PRESETS["rcc"], top_n=top_n))
        without, with_term = alternate(unimatch, rcc, arguments.pairs)
        ratio, low, high = median_interval(with_term / without)
        records.append(
            {
                "top_n": top_n,
                "unimatch_seconds": float(np.median(without)),
                "rcc_seconds": float(np.median(with_term)),
                "ratio": ratio,
                "ratio_interval": [low, high],
                "unimatch": unimatch.costs(),
                "rcc": rcc.costs(),
            }
        )
        print(_lines(records[-1]), flush=True)
    return records


def _lines(record: dict) -> str:
    before, after = record["unimatch"], record["rcc"]
    low, high = record["ratio_interval"]

    def grown(name, unit, scale):
        old, new = before[name], after[name]
        return f"{old / scale:.2f} -> {new / scale:.2f} {unit} ({new / old - 1:+.1%})"

    return (
        f"N = {record['top_n']}\n"
        f"  UniMatch {record['unimatch_seconds']:.4f} s, RCC {record['rcc_seconds']:.4f} s a step\n"
        f"  RCC / UniMatch {record['ratio']:.3f} (95% interval {low:.3f} to {high:.3f})\n"
        f"  operations       {grown('flops', 'GFLOP', 1e9)}\n"
        f"  temporary memory {grown('temporary_bytes', 'MiB', 2**20)}\n"
        f"  compilation      {grown('compile_seconds', 's', 1)}"
    )


def measure_deterministic(arguments: argparse.Namespace) -> dict | None:
    """Seconds of a step without and with `train.deterministic`, in processes of their own.

    XLA reads the flag once a process, so the two cannot take turns step by step; four processes
    run off, on, on, off instead. Noisier than a paired ratio. None where there is no GPU.
    """
    # This process only looks at the device; the memory is for the others.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if jax.default_backend() != "gpu":
        print(f"deterministic: not measured, since it changes nothing on {jax.default_backend()}")
        return None
    seconds: dict[str, list[float]] = {"off": [], "on": []}
    fields = ("backbone", "width", "crop", "batch", "pairs")
    command = [sys.executable, __file__, f"--top_n={arguments.top_n[0]}"]
    command += [f"--{name}={getattr(arguments, name)}" for name in fields]
    for setting in ("off", "on", "on", "off"):
        flags = os.environ.get("XLA_FLAGS", "")
        flags = f"{flags} {DETERMINISTIC_FLAG}" if setting == "on" else flags
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "record.json"
            subprocess.run(
                [*command, f"--results={path}"],
                check=True,
                env={**os.environ, "XLA_FLAGS": flags.strip()},
                stdout=subprocess.DEVNULL,
            )
            seconds[setting].append(json.loads(path.read_text())["results"][0]["rcc_seconds"])
    ratio = float(np.mean(seconds["on"]) / np.mean(seconds["off"]))
    print(f"deterministic / not, RCC step, N = {arguments.top_n[0]}: {ratio:.3f} ({seconds})")
    return {"top_n": arguments.top_n[0], "seconds": seconds, "ratio": ratio}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small", help="what the rest defaults to")
    parser.add_argument("--backbone", choices=BACKBONES)
    parser.add_argument("--width", type=int, help="base width; the decoder is 4 times as wide")
    parser.add_argument("--crop", type=int, help="side of the square crop in pixels")
    parser.add_argument("--batch", type=int, help="labelled and unlabelled images a step, each")
    parser.add_argument("--top_n", default="4,6", help="numbers of players, comma-separated")
    parser.add_argument("--pairs", type=int, help="turns that are timed")
    parser.add_argument("--deterministic", action="store_true", help="also that cost (GPU only)")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    for name, value in SIZES[arguments.size].items():
        given = getattr(arguments, name)
        setattr(arguments, name, value if given is None else given)
    counts = arguments.top_n.split(",")
    if not all(count in tuple("345678") for count in counts):
        parser.error(f"--top_n={arguments.top_n}: give numbers of players from 3 to 8, as in 4,6")
    arguments.top_n = [int(count) for count in counts]
    for name in ("width", "crop", "batch", "pairs"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name}={getattr(arguments, name)}: give at least 1")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    deterministic = measure_deterministic(arguments) if arguments.deterministic else None
    what = {name: getattr(arguments, name) for name in SIZES["small"]}
    print(", ".join(f"{name} {value}" for name, value in what.items()), flush=True)
    try:
        results = measure(arguments)
    except ConfigError as error:
        sys.exit(str(error))
    if arguments.results:
        record = {**environment.describe(), "setting": what, "results": results}
        if deterministic:
            record["deterministic"] = deterministic
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
