"""Records the regression guards anew, after a change that is meant to change the numbers.

python -m tests.guards.record trajectory
python -m tests.guards.record run               # nine runs, a minute each on one core
"""

import os
import pathlib
import re
import sys
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import json

import jax

from rcc_jax.workdir import environment
from tests.guards import run, trajectory


def record_trajectories() -> dict:
    """Every trajectory of the guard."""
    with jax.enable_x64(True):
        return {name: trajectory.trajectory(name) for name in trajectory.METHODS}


def record_runs() -> list[float]:
    """The mIoU of a run for every seed."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder, "data")
        run.draw(root)
        for seed in run.SEEDS:
            found.append(run.train(root, pathlib.Path(folder, str(seed)), seed))
            print(f"seed {seed}: mIoU {found[-1]:.2f}", flush=True)
    return found


def main(which: str) -> None:
    if which == "trajectory":
        path, content = trajectory.RECORD, {"trajectories": record_trajectories()}
    else:
        path, content = run.RECORD, {"seeds": run.SEEDS, "miou": record_runs()}
    text = json.dumps({**environment.describe(), **content}, indent=1)
    # A list of numbers on one line.
    text = re.sub(r"\[[^][{}]*\]", lambda found: json.dumps(json.loads(found[0])), text)
    path.write_text(text + "\n")


if __name__ == "__main__":
    if sys.argv[1:] not in (["trajectory"], ["run"]):
        sys.exit(__doc__)
    main(sys.argv[1])
