"""The share of each loss term in the gradient of a step, at the weights of a finished run.

    python benchmarks/gradient_share.py --workdir=runs/NAME --batches=8

The gradient of UniMatch's step is the sum of the gradients of the labelled images (L_x) and of the
pseudo labels (L_reg); a consensus term adds its own, times lambda (eq. 12). Each is computed as the
difference of two gradients of the training step itself, on the batches that the run would train on
next, with BatchNorm's statistics of the batch. Prints for each term its norm relative to that of
the labelled images (median and range over the batches), and the cosine of its angle to the gradient
of UniMatch's whole step.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import statistics
import sys

import jax
import jax.numpy as jnp
import optax

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import environment  # noqa: E402

from configs import recorded  # noqa: E402
from rcc_jax.build import set_up_jax  # noqa: E402
from rcc_jax.distributed import meshes  # noqa: E402
from rcc_jax.errors import ConfigError  # noqa: E402
from rcc_jax.methods import METHODS, Method  # noqa: E402
from rcc_jax.methods.base import Clock  # noqa: E402
from rcc_jax.training import train_step  # noqa: E402
from rcc_jax.training.run import Run  # noqa: E402

WEIGHT = 0.2  # lambda
# A threshold above every confidence, so that no pixel is kept.
NO_PIXEL = 2.0


def variants(top_n: int) -> dict[str, Method]:
    """Methods that add a consensus term to UniMatch, by name."""
    shared = {"top_n": top_n, "consensus_weight": WEIGHT}
    rcc = functools.partial(METHODS["rcc"], **shared)
    found = {f"rank, tau {tau:g}": rcc(temperature=tau) for tau in (3.0, 1.0, 0.3, 0.1, 0.03)}
    found["rank, tau 1, probabilities"] = rcc(consensus_input="probabilities")
    found["rank, tau 1, confident pixels"] = rcc(consensus_pixels="confident")
    for kind in ("l2", "kl"):
        found[f"CC, {kind}"] = METHODS["cc"](**shared, consensus=kind)
    return found


def open_run(workdir: pathlib.Path, seed: int) -> Run:
    """The run with RCC's views, to start from its latest weights."""
    config = recorded.get_config(workdir)
    config.method.name, config.method.ema_decay, config.seed = "rcc", 0.0, seed
    config.model.pretrained = str(workdir)
    set_up_jax(config)
    return Run.build(config)


def gradient_of(run: Run, method: Method):
    """A jitted function from state and batch to the gradient of the method's step, and terms."""

    @jax.jit
    def gradient(state, batch):
        found, _ = train_step.gradients_of(
            run.network,
            method,
            state,
            batch,
            counts=method.counts(batch),
            parts=1,
            clock=Clock(state.step, run.epoch_steps, run.num_steps),
            key=state.rng,
        )
        return found.params, found.terms

    return gradient


def dot(first, second) -> float:
    return float(sum(jax.tree.leaves(jax.tree.map(jnp.vdot, first, second))))


def measure(run: Run, batches: int) -> dict[str, dict[str, list[float]]]:
    """Norms, and cosines with the gradient of UniMatch's step, by term: one value per batch."""
    unimatch = METHODS["unimatch"](confidence_threshold=run.method.confidence_threshold)
    labeled_only = gradient_of(run, dataclasses.replace(unimatch, confidence_threshold=NO_PIXEL))
    whole = gradient_of(run, unimatch)
    added = {
        name: gradient_of(
            run,
            dataclasses.replace(method, confidence_threshold=unimatch.confidence_threshold),
        )
        for name, method in variants(run.method.top_n).items()
    }
    state = run.initial_state(print)
    found = {}

    def note(name, value, total, loss=None):
        lines = found.setdefault(name, {"norm": [], "cosine": [], "loss": []})
        norm = float(optax.tree.norm(value))
        lines["norm"].append(norm)
        lines["cosine"].append(
            dot(value, total) / (norm * float(optax.tree.norm(total))) if norm else 0.0
        )
        lines["loss"].append(None if loss is None else float(loss))

    subtract = functools.partial(jax.tree.map, jnp.subtract)
    stream = run.batches(0)
    try:
        for _ in range(batches):
            batch = meshes.place_batch(run.mesh, next(stream))
            total, terms = whole(state, batch)
            labeled, _ = labeled_only(state, batch)
            note("labelled images", labeled, total, terms["loss_labeled"])
            note("pseudo labels", subtract(total, labeled), total)
            for name, gradient in added.items():
                own, own_terms = gradient(state, batch)
                note(name, subtract(own, total), total, own_terms["loss_consensus"])
            found.setdefault("kept_ratio", []).append(float(terms["kept_ratio"]))
    finally:
        stream.close()
    return found


def table(found: dict) -> str:
    lines = ["| gradient of | share of the labelled images' | cosine with the step | loss |"]
    lines.append("| --- " * 4 + "|")
    reference = found["labelled images"]["norm"]
    for name, each in found.items():
        if name == "kept_ratio":
            continue
        shares = [norm / other for norm, other in zip(each["norm"], reference, strict=True)]
        known = [loss for loss in each["loss"] if loss is not None]
        loss = f"{statistics.median(known):.3g}" if known else ""
        lines.append(
            f"| {name} | {statistics.median(shares):.3g} ({min(shares):.2g} to "
            f"{max(shares):.2g}) | {statistics.median(each['cosine']):+.2f} | {loss} |"
        )
    kept = found["kept_ratio"]
    lines.append(f"\n{len(kept)} batches; kept pixels: {statistics.median(kept):.2f} (median)")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="a finished run")
    parser.add_argument("--batches", type=int, default=8, help="number of batches")
    parser.add_argument("--seed", type=int, default=100, help="seed of the batches")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    try:
        run = open_run(arguments.workdir.resolve(), arguments.seed)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    found = measure(run, arguments.batches)
    print(table(found))
    if arguments.results:
        record = {**environment.describe(), "run": arguments.workdir.resolve().name}
        record |= {"weight": WEIGHT, "top_n": run.method.top_n, "terms": found}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
