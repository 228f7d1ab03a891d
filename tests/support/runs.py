"""Tiny runs that tests and `tests/guards/faults.py` disturb, and how two of them are compared."""

import json
import pathlib
import signal
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
from tensorboardX.proto.event_pb2 import Event

STEPS = 12
FIELDS = {
    "model.backbone": "resnet10",
    "model.width": 8,
    "model.decoder_channels": 16,
    "data.crop_size": 33,
    "data.unlabeled": "1000:1040",
    "data.val": "100000:100004",
    "method.ema_decay": 0.9,
    "method.confidence_threshold": 0.16,
    "train.batch_size": 2,
    "train.num_steps": STEPS,
    "train.log_every": 2,
    "eval.every_steps": 6,
    "eval.pictures": 1,
    "checkpoint.every_steps": 3,
    "checkpoint.keep": 3,
}


def tiny_run(cache: pathlib.Path | str, workdir: pathlib.Path, *flags: str, **changed) -> list[str]:
    """The arguments of main.py for a run of STEPS steps.

    Args:
        cache: Folder of compiled programs, which runs may share; 'auto' = that of the tests.
        workdir: Folder of the run.
        *flags: Further arguments.
        **changed: Fields of the configuration, with __ for the dot.
    """
    changed = {name.replace("__", "."): value for name, value in changed.items()}
    fields = {**FIELDS, "train.compilation_cache": cache, **changed}
    values = [f"--config.{name}={value}" for name, value in fields.items() if value is not None]
    return ["--config=configs/demo.py", f"--workdir={workdir}", *values, *flags]


def wait_until(process, condition) -> None:
    """Returns as soon as the condition holds or the process has ended."""
    limit = time.monotonic() + 300
    while process.poll() is None and not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


def reached(workdir: pathlib.Path, step: int) -> bool:
    """Whether metrics.jsonl has a line of this step or a later one."""
    path = workdir / "metrics.jsonl"
    return path.exists() and any(line["step"] >= step for line in metrics(workdir))


def saving(workdir: pathlib.Path, step: int) -> bool:
    """Whether the checkpoint of this step, or a later one, is just being written."""
    return any(
        int(path.name.split(".")[0]) >= step
        for path in (workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")
    )


def saved_steps(workdir: pathlib.Path) -> list[int]:
    """The steps whose checkpoints are on disk."""
    names = (path.name for path in (workdir / "checkpoints").glob("[0-9]*"))
    return sorted(int(name) for name in names if name.isdecimal())


def metrics(workdir: pathlib.Path) -> list[dict]:
    """The whole lines of metrics.jsonl."""
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def events(workdir: pathlib.Path) -> list[Event]:
    """What TensorBoard reads."""
    found = []
    for path in sorted((workdir / "tensorboard").glob("**/*.tfevents.*")):
        content, position = path.read_bytes(), 0
        while position < len(content):
            # A record: its length, a checksum, the event, another checksum.
            length = int.from_bytes(content[position : position + 8], "little")
            found.append(Event.FromString(content[position + 12 : position + 12 + length]))
            position += length + 16
    return found


def saved_state(workdir: pathlib.Path, step: int):
    """The state in a checkpoint."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(workdir / "checkpoints" / str(step) / "state")


def leaves(state) -> dict[str, tuple]:
    """Every array of a state by its path, as bytes."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        found[jax.tree_util.keystr(path)] = (leaf.shape, leaf.dtype, np.asarray(leaf).tobytes())
    return found


def different(workdir: pathlib.Path, other: pathlib.Path) -> list[str]:
    """What differs between two finished runs: files of numbers, and arrays of the last state."""
    names = [
        name
        for name in ("metrics.jsonl", "result.json")
        if (workdir / name).read_bytes() != (other / name).read_bytes()
    ]
    states = [leaves(saved_state(path, STEPS)) for path in (workdir, other)]
    paths = states[0].keys() | states[1].keys()
    return names + sorted(path for path in paths if states[0].get(path) != states[1].get(path))


def kill(process) -> bool:
    """Kills a process; returns whether it was still running."""
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL
