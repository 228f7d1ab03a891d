"""The memory that a process does not free after saving a checkpoint, and the call that keeps it.

    python benchmarks/save_memory.py --arrays=200 --saves=20

States of --arrays small arrays are saved one after another, as training does. Counts the blocks
that Python's allocator holds (`sys.getallocatedblocks`) and the memory of the process, after a
third of the saves as warm-up. Also counts the blocks that one call keeps by itself: orbax makes a
description of an array's file with it (`tensorstore.KvStore.Spec.to_json`).
"""

import argparse
import gc
import importlib.metadata
import json
import pathlib
import sys
import tempfile

import environment
import jax.numpy as jnp
import tensorstore

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from rcc_jax.workdir.checkpoints import Checkpoints  # noqa: E402

CALLS = 1000


def held() -> tuple[int, float]:
    """Blocks held by Python's allocator, and memory of the process in MiB."""
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return sys.getallocatedblocks(), pages * 4096 / 2**20


def per_save(arrays: int, saves: int) -> dict[str, float]:
    """Growth per save of a state of `arrays` arrays."""
    state = {f"array_{index}": jnp.zeros(8) for index in range(arrays)}
    warm_up = saves // 3
    with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
        for step in range(1, warm_up + 1):
            checkpoints.save(step, state, wait=True)
        before = held()
        for step in range(warm_up + 1, saves + 1):
            checkpoints.save(step, state, wait=True)
        after = held()
    blocks, memory = ((b - a) / (saves - warm_up) for a, b in zip(before, after, strict=True))
    return {"blocks": blocks, "blocks_an_array": blocks / arrays, "memory_mib": memory}


def per_description() -> float:
    """Blocks that one call of `to_json` keeps although its result is discarded."""
    spec = {"driver": "ocdbt", "base": "file:///checkpoint/", "path": "array"}

    def describe():
        for _ in range(CALLS):
            tensorstore.KvStore.Spec(spec).to_json()

    describe()
    before, _ = held()
    describe()
    return (held()[0] - before) / CALLS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arrays", type=int, default=200, help="number of arrays of the state")
    parser.add_argument("--saves", type=int, default=20, help="number of checkpoints")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    found = {"arrays": arguments.arrays, "saves": arguments.saves}
    found["a_save"] = per_save(arguments.arrays, arguments.saves)
    found["blocks_a_to_json"] = per_description()
    found["tensorstore"] = importlib.metadata.version("tensorstore")
    print(json.dumps(found, indent=1))
    if arguments.results:
        record = {**environment.describe(), **found}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
