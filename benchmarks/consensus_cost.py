"""The cost of RCC's rank loss: microseconds per pixel, compared with a cross-entropy.

    python benchmarks/consensus_cost.py

Times value and gradient of two losses, averaged over the pixels of random logits of 21 classes:
`consensus.pixel_rcc_loss` as training calls it, including the choice of the players, and
`losses.cross_entropy`. They take turns in one process on one core. One number of pixels is timed
with 2 (one pair, so nothing to rank) to 8 players N, all numbers of pixels with N = 4 and 6.
"""

import argparse
import json
import os
import pathlib
import sys
import time

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # Before XLA counts the cores.

import environment
import jax
import jax.numpy as jnp
import numpy as np
import steps

# `environment` has put the repository on the path.
from rcc_jax import consensus
from rcc_jax.methods import losses
from rcc_jax.reporting.line_chart import Series, picture

NUM_CLASSES = 21
PLAYERS, CHOSEN = tuple(range(2, 9)), (4, 6)
SIZES = {"small": (1_000, 10_000), "full": (1_000, 10_000, 100_000, 1_000_000)}
AT = {"small": 10_000, "full": 100_000}  # Pixels of the comparison by N.
LEAST_SECONDS = 0.02  # Per turn; short calls are repeated to fill it.


class Timed:
    """A compiled function for value and gradient, to be timed."""

    def __init__(self, loss, *inputs: jax.Array):
        function = jax.jit(
            jax.value_and_grad(lambda student, *rest: jnp.mean(loss(student, *rest)))
        )
        self.inputs = inputs
        self.compiled = function.lower(*inputs).compile()
        self.calls = 1
        self.seconds()
        self.calls = max(1, round(LEAST_SECONDS / self.seconds()))

    def seconds(self) -> float:
        """Seconds per call."""
        start = time.perf_counter()
        for _ in range(self.calls):
            jax.block_until_ready(self.compiled(*self.inputs))
        return (time.perf_counter() - start) / self.calls


def compare(pixels: int, players: tuple[int, ...], turns: int) -> list[dict]:
    """Microseconds per pixel of both losses for each number of players."""
    rng = np.random.default_rng(0)
    student, teacher = (
        jnp.asarray(rng.normal(0, 3, (1, pixels, NUM_CLASSES)), jnp.float32) for _ in range(2)
    )
    labels = jnp.asarray(rng.integers(0, NUM_CLASSES, (1, pixels)), jnp.int32)
    plain = Timed(losses.cross_entropy, student, labels)
    records = []
    for top_n in players:

        def rank_loss(student, teacher, top_n=top_n):
            return consensus.pixel_rcc_loss(teacher, student, top_n=top_n)

        rank = Timed(rank_loss, student, teacher)
        ours, others = steps.alternate(rank, plain, turns)
        ratio, *interval = steps.median_interval(ours / others)
        record = {"pixels": pixels, "players": top_n, "turns": turns, "ratio": ratio}
        record["ratio_interval"] = interval
        for name, seconds in (("rank_loss", ours), ("cross_entropy", others)):
            record[f"{name}_us_per_pixel"] = float(np.median(seconds)) / pixels * 1e6
        records.append(record)
        print(
            f"{pixels} pixels, N = {top_n}: {record['rank_loss_us_per_pixel']:.3f} us per pixel, "
            f"cross-entropy {record['cross_entropy_us_per_pixel']:.3f}; "
            f"{ratio:.2f} ({interval[0]:.2f} to {interval[1]:.2f})",
            flush=True,
        )
    return records


def draw(by_players: list[dict], by_pixels: list[dict]) -> dict[str, str]:
    """Pictures by name: the cost by number of players, and by number of pixels."""
    unit = "microseconds per pixel, value and gradient"

    def line(records, x, field, kind, name):
        return Series(name, kind, [(x(each), each[f"{field}_us_per_pixel"]) for each in records])

    names = ("rank loss", "cross-entropy")
    series = [
        line(by_players, lambda each: each["players"], field, kind, name)
        for kind, (name, field) in enumerate(
            zip(names, ("rank_loss", "cross_entropy"), strict=True)
        )
    ]
    title = f"{unit}, {by_players[0]['pixels']:,} pixels"
    pictures = {"players": picture(title, series, names, x_label="players N")}
    names = [f"rank loss, N = {top_n}" for top_n in CHOSEN] + ["cross-entropy"]
    series = []
    for kind, name in enumerate(names):
        top_n = CHOSEN[min(kind, len(CHOSEN) - 1)]
        field = "rank_loss" if kind < len(CHOSEN) else "cross_entropy"
        records = [each for each in by_pixels if each["players"] == top_n]
        series.append(line(records, lambda each: np.log10(each["pixels"]), field, kind, name))
    pictures["pixels"] = picture(unit, series, names, x_label="log10 of the number of pixels")
    return pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write, with pictures")
    arguments = parser.parse_args()
    if arguments.turns < 1:
        sys.exit("give at least --turns=1")
    by_players = compare(AT[arguments.size], PLAYERS, arguments.turns)
    by_pixels = []
    for pixels in SIZES[arguments.size]:
        by_pixels += compare(pixels, CHOSEN, arguments.turns)
    if arguments.results:
        record = {**environment.describe(), "by_players": by_players, "by_pixels": by_pixels}
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")
        for name, drawn in draw(by_players, by_pixels).items():
            place = arguments.results.with_name(f"{arguments.results.stem}_{name}.svg")
            place.write_text(drawn)


if __name__ == "__main__":
    main()
