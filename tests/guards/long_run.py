"""What a long run keeps: slopes of memory, file handles, threads and disk over its steps.

    python -m tests.guards.long_run --steps=20000

A small network is trained on drawn scenes through main.py, with checkpoints and evaluations on the
way. Every few steps the memory, open files and threads of its process and the bytes of its folder
are noted. The first third is left out, since caches fill there. Printed are straight lines through
the rest: growth per 1,000 steps, and over the whole of it beside what there was at its start.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

import numpy as np

from tests.support import runs
from tests.support.commands import start_afresh

WARM_UP = 1 / 3
QUANTITIES = {
    "memory": "MiB",
    "files": "open files",
    "threads": "threads",
    "checkpoints": "MiB",
    "logs": "MiB",
}


def observe(pid: int, workdir: pathlib.Path) -> dict[str, float]:
    """Memory, open files and threads of a process, and the bytes of its folder."""
    process = pathlib.Path(f"/proc/{pid}")
    fields = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    checkpoints = _bytes(workdir / "checkpoints")
    return {
        "memory": int(fields["VmRSS"].split()[0]) / 1024,
        "files": len(list((process / "fd").iterdir())),
        "threads": int(fields["Threads"]),
        "checkpoints": checkpoints / 2**20,
        "logs": (_bytes(workdir) - checkpoints) / 2**20,
    }


def _bytes(folder: pathlib.Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # A checkpoint that was just removed.
            continue
    return total


def last_step(path: pathlib.Path) -> int:
    """The step of the last whole line of a log; 0 where there is none."""
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
    return json.loads(lines[-1])["step"] if lines else 0


def measure(steps: int, every: int, folder: pathlib.Path) -> list[dict[str, float]]:
    """What was observed, every `every` steps."""
    workdir = folder / "run"
    changed = {
        "train__num_steps": steps,
        "train__log_every": max(1, every // 5),
        "eval__every_steps": 2 * every,
        "checkpoint__every_steps": every,
        "data__unlabeled": "1000:1400",
    }
    # Into files: nobody reads a pipe meanwhile.
    with open(folder / "output", "w") as output:
        flags = runs.tiny_run(folder / "compiled", workdir, **changed)
        process = start_afresh(*flags, output=output)
        observed = []
        while process.poll() is None:
            step = last_step(workdir / "timing.jsonl")
            if step and (not observed or step >= observed[-1]["step"] + every):
                try:
                    observed.append({"step": step, **observe(process.pid, workdir)})
                except OSError:  # The process ended in between.
                    break
            time.sleep(0.05)
    if process.wait():
        sys.exit(f"the run failed:\n{(folder / 'output').read_text()[-3000:]}")
    return observed


def slopes(observed: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Start, growth per 1,000 steps and growth in all, by least squares without the warm-up."""
    kept = [each for each in observed if each["step"] >= WARM_UP * observed[-1]["step"]]
    if len(kept) < 3:
        sys.exit(f"only {len(kept)} observations after the warm-up: give more --steps")
    steps = np.array([each["step"] for each in kept])
    found = {}
    for name in QUANTITIES:
        slope, start_value = np.polyfit(steps - steps[0], [each[name] for each in kept], 1)
        found[name] = {
            "start": float(start_value),
            "per_1000_steps": float(slope * 1000),
            "in_all": float(slope * (steps[-1] - steps[0])),
        }
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    lines = ["| | at its start | growth per 1,000 steps | in all |", "| --- " * 4 + "|"]
    lines += [
        f"| {name} ({unit}) | {found[name]['start']:.2f} | {found[name]['per_1000_steps']:+.3f} | "
        f"{found[name]['in_all']:+.2f} |"
        for name, unit in QUANTITIES.items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000, help="length of the run")
    parser.add_argument("--every", type=int, help="steps between observations; by default 1 in 100")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    every = arguments.every or max(5, arguments.steps // 100)
    with tempfile.TemporaryDirectory() as folder:
        observed = measure(arguments.steps, every, pathlib.Path(folder))
    found = slopes(observed)
    print(f"{arguments.steps} steps, {len(observed)} observations\n{table(found)}")
    if arguments.results:
        from rcc_jax.workdir import environment  # Here and not above: it loads JAX.

        record = {**environment.describe(), "steps": arguments.steps, "slopes": found}
        record["observed"] = [
            {name: round(value, 3) for name, value in each.items()} for each in observed
        ]
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
