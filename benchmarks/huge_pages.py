"""A training step with huge pages, as main.py asks for them, against one without.

    python benchmarks/huge_pages.py
    python benchmarks/huge_pages.py --config=configs/msrc.py:20,backbone=dinov2_small

Two processes hold the same step, one with each size of pages, and take turns. The batch is noise
and the weights are random. Where Linux gives huge pages to all processes or to none, both are
alike.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
from typing import Any

import environment
import method_cost
import numpy as np
import steps

SETTING = "GLIBC_TUNABLES"


class Other:
    """A process that takes a step for every line that it reads."""

    def __init__(self, huge: bool, arguments: argparse.Namespace):
        command = [sys.executable, __file__, "--serve", f"--config={arguments.config}"]
        self.process = subprocess.Popen(
            [*command, f"--method={arguments.method}"],
            env={**os.environ, SETTING: f"glibc.malloc.hugetlb={int(huge)}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.step()  # Ready.

    def step(self) -> dict[str, Any]:
        """Takes one step; returns its seconds, page faults and the process's memory."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"a process ended with exit code {self.process.wait()}")
        return json.loads(line)


def serve(arguments: argparse.Namespace) -> None:
    """Takes a step for every line of the standard input and prints what it took."""
    setup = method_cost.Setup(method_cost.configured(arguments.config, arguments.method, "float32"))
    step = steps.Step(setup, setup.run.method)
    for _ in sys.stdin:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        found: dict[str, Any] = {"seconds": step.seconds()}
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found |= {"page_faults": usage.ru_minflt - before, "peak_bytes": 1024 * usage.ru_maxrss}
        print(json.dumps(found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/msrc.py:20")
    parser.add_argument("--method", default="unimatch")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments)
        return
    processes = [Other(huge, arguments) for huge in (False, True)]
    taken: list[list[dict]] = [[], []]
    for turn in range(arguments.turns):
        for index in (0, 1) if turn % 2 == 0 else (1, 0):
            processes[index].step()  # Warms the caches of the processor.
            taken[index].append(processes[index].step())
    small, huge = (np.array([each["seconds"] for each in found]) for found in taken)
    ratio, low, high = steps.median_interval(small / huge)
    rows = [
        {key: float(np.median([each[key] for each in found])) for key in found[0]}
        for found in taken
    ]
    for name, row in zip(("small pages", "huge pages"), rows, strict=True):
        print(
            f"{name}: {row['seconds']:.3f} s, {row['page_faults']:.0f} page faults a step, "
            f"{row['peak_bytes'] / 2**30:.2f} GiB at most"
        )
    print(f"small / huge {ratio:.2f} (95% interval {low:.2f} to {high:.2f})")
    for process in processes:
        process.process.kill()
    if arguments.results:
        setting = {"config": arguments.config, "method": arguments.method}
        record = {**environment.describe(), **setting, "small": rows[0], "huge": rows[1]}
        record |= {"ratio": ratio, "ratio_interval": [low, high]}
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
