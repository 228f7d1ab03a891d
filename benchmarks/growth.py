"""How time and memory of a training step grow with batch size, crop and devices.

    python benchmarks/growth.py --turns=10

RCC steps of one small network at several sizes take turns in one process, so that other load on the
machine affects all alike. Prints medians, the time per image and per pixel, and the temporary
memory that XLA plans. Each row for several devices comes from a separate process with fake devices
on the same cores: it shows the cost of splitting a step, not the gain.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import steps

from rcc_jax.methods import METHODS

NETWORK = {"backbone": "resnet18", "width": 16}
BATCHES, CROPS, DEVICES = (1, 2, 4, 8), (65, 129, 193, 257), (1, 2, 4, 8)
BATCH, CROP, SPLIT_BATCH = 2, 129, 8


def measure(sizes: list[tuple[int, int]], turns: int) -> list[dict]:
    """Median seconds and memory of the step of each (batch, crop); the steps take turns."""
    method = METHODS["rcc"]()
    made = []
    for batch, crop in sizes:
        made.append(steps.Step(steps.Setup(**NETWORK, crop=crop, batch=batch), method))
        print(f"batch {batch} + {batch}, crop {crop}: ready", flush=True)
    seconds = np.zeros((turns, len(made)))
    for turn in range(turns):
        order = range(len(made))
        for index in order if turn % 2 == 0 else reversed(order):
            seconds[turn, index] = made[index].seconds()
    return [
        {
            "batch": batch,
            "crop": crop,
            "seconds": float(np.median(each)),
            "temporary_mib": step.costs()["temporary_bytes"] / 2**20,
        }
        for (batch, crop), step, each in zip(sizes, made, seconds.T, strict=True)
    ]


def measure_devices(turns: int) -> list[dict]:
    """The same global batch on more and more fake devices, each in a separate process."""
    found = []
    for count in DEVICES:
        flags = os.environ.get("XLA_FLAGS", "")
        flags = f"{flags} --xla_force_host_platform_device_count={count}".strip()
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "record.json"
            command = [sys.executable, __file__, f"--turns={turns}", "--only-split"]
            environ = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
            subprocess.run(
                [*command, f"--results={path}"], check=True, env=environ, stdout=subprocess.DEVNULL
            )
            (row,) = json.loads(path.read_text())["results"]
        found.append({"devices": count, **row})
        print(f"{count} device(s): {row['seconds']:.3f} s", flush=True)
    return found


def table(rows: list[dict]) -> str:
    lines = ["| batch | crop | devices | seconds | ms per image | ns per pixel | temporary MiB |"]
    lines.append("| --- " * 7 + "|")
    for row in rows:
        images = 2 * row["batch"]
        each = row["seconds"] / images
        lines.append(
            f"| {row['batch']} + {row['batch']} | {row['crop']} | {row.get('devices', 1)} | "
            f"{row['seconds']:.3f} | {1e3 * each:.1f} | {1e9 * each / row['crop'] ** 2:.0f} | "
            f"{row['temporary_mib']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=10, help="steps of each size")
    parser.add_argument("--only-split", action="store_true", help="only the device rows' step")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.only_split:
        rows = measure([(SPLIT_BATCH, CROP)], arguments.turns)
    else:
        sizes = [(batch, CROP) for batch in BATCHES] + [(BATCH, c) for c in CROPS if c != CROP]
        rows = measure(sizes, arguments.turns) + measure_devices(arguments.turns)
        print(table(rows))
    if arguments.results:
        import environment

        record = {**environment.describe(), "network": NETWORK, "turns": arguments.turns}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps({**record, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
