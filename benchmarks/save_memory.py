"""What a process keeps of each checkpoint that it saves, and which call keeps it.

    python benchmarks/save_memory.py --arrays=200 --saves=20

States of so many small arrays are saved one after another the way a training does it. Counted are
the blocks that Python's allocator holds (`sys.getallocatedblocks`), after a third of the saves
as warm-up, and the memory of the process. Beside it the same count for the one call of orbax
that makes a description of an array's file (`tensorstore.KvStore.Spec.to_json`), alone.
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
    """Blocks of Python's allocator, and MiB of memory of the process."""
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return sys.getallocatedblocks(), pages * 4096 / 2**20


def per_save(arrays: int, saves: int) -> dict[str, float]:
    """Growth by one save of a state of so many arrays."""
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
    """Blocks that stay of one `to_json`, whose result is thrown away."""
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
    parser.add_argument("--arrays", type=int, default=200, help="arrays of the state")
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
