"""The cost of RCC's term: training steps of UniMatch and RCC, alternating in one process.

    python benchmarks/step_overhead.py --size=small

Both steps train the same network on the same batch. They take turns (A B, B A, A B, ...), so that
other load on the machine affects both alike, and each turn gives one ratio. Prints the median
seconds of both, the median ratio with a bootstrap 95% interval, and XLA's counts for the compiled
programs: floating-point operations and temporary memory.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import environment
import jax
import numpy as np
import steps

from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS

DETERMINISTIC_FLAG = "--xla_gpu_deterministic_ops=true"


def measure(arguments: argparse.Namespace) -> list[dict]:
    """One record for each number of players."""
    setup = steps.Setup(arguments.backbone, arguments.width, arguments.crop, arguments.batch)
    unimatch = steps.Step(setup, METHODS["unimatch"]())
    records = []
    for top_n in arguments.top_n:
        rcc = steps.Step(setup, METHODS["rcc"](top_n=top_n))
        without, with_term = steps.alternate(unimatch, rcc, arguments.pairs)
        ratio, low, high = steps.median_interval(with_term / without)
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
    """Seconds of a step without and with `train.deterministic`, in separate processes.

    XLA reads the flag once per process, so the two cannot take turns step by step. Instead four
    processes run with it off, on, on, off; this is noisier than a paired ratio. None without a GPU.
    """
    # This process only queries the device; the others need its memory.
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
    steps.add_arguments(parser)
    parser.add_argument("--top_n", default="4,6", help="numbers of players, comma-separated")
    parser.add_argument("--deterministic", action="store_true", help="also time this option (GPU)")
    arguments = steps.parse(parser)
    counts = arguments.top_n.split(",")
    if not all(count in tuple("345678") for count in counts):
        parser.error(f"--top_n={arguments.top_n}: give numbers of players from 3 to 8, as in 4,6")
    arguments.top_n = [int(count) for count in counts]
    return arguments


def main() -> None:
    environment.ask_for_huge_pages()
    arguments = parse_arguments()
    deterministic = measure_deterministic(arguments) if arguments.deterministic else None
    print(steps.setting(arguments), flush=True)
    try:
        results = measure(arguments)
    except ConfigError as error:
        sys.exit(str(error))
    more = {"deterministic": deterministic} if deterministic else {}
    steps.write_record(arguments, results=results, **more)


if __name__ == "__main__":
    main()
