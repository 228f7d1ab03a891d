"""Does the consensus know more than the confidence, and does its gradient point to the truth?

    python benchmarks/mechanism.py --workdir=runs/NAME --truth=splits/unlabeled.txt --steps=800

Takes the unlabelled images of a run with the masks that its training never saw, in the weak view
(teacher) and a strong view (student) without CutMix, in batches of the run's size and with
BatchNorm's statistics of the batch. For each checkpoint it prints

- the AUC with which a pixel's confidence, the agreement of its ranks and both (a logistic
  regression, fitted on every other batch) predict that its pseudo label is right, for all pixels
  and for those below the confidence threshold;
- for the gradient of each loss of the strong view, its cosine with the gradient of the true labels
  (mean over the batches), also of the part that is orthogonal to the pseudo labels' gradient;
- the share of the five rarest classes among true labels, all pseudo labels and the kept ones.
"""

import argparse
import copy
import functools
import json
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import environment  # noqa: E402
from benchmarks.mechanism_numbers import (  # noqa: E402
    PSEUDO,
    TRUTH,
    Pixels,
    cosines,
    predictors,
    rare_shares,
)
from configs import recorded  # noqa: E402
from input_pipeline import DataError  # noqa: E402
from input_pipeline.batches.views import UnlabeledViews, crop_label, draw_geometry  # noqa: E402
from rcc_jax import build  # noqa: E402
from rcc_jax.consensus import pixel_cc_loss, pixel_rcc_loss  # noqa: E402
from rcc_jax.errors import ConfigError  # noqa: E402
from rcc_jax.labels import IGNORED  # noqa: E402
from rcc_jax.methods import losses, passes  # noqa: E402
from rcc_jax.training.run import Run  # noqa: E402

TOP = 4  # N
TAUS = (3.0, 1.0, 0.3, 0.1)
EVERY = 4  # Of the pixels, each fourth row and column is kept for the statistics.


def open_run(workdir: pathlib.Path, step: str, truth: str) -> Run:
    """The run with the weights of a step, and the images and masks of `truth` for validation."""
    config = recorded.get_config(workdir)
    config.model.pretrained = str(workdir / "checkpoints" / step)
    # A method on the labels alone opens no unlabelled images, which are those of `truth`.
    config.method.name = "supervised"
    build.set_up_jax(config)
    return Run.build(config, images=truth)


def batches(run: Run, count: int, seed: int):
    """Weak and strong view, mask and valid pixels of held-back images: dicts of [B, S, S, ...]."""
    source, crop, rows = run.partition.val, run.config.data.crop_size, run.config.train.batch_size
    views = UnlabeledViews(crop, 1, boxes=False)
    order = np.random.default_rng(seed).permutation(len(source))
    if count * rows > len(order):
        sys.exit(f"error: --batches={count}: {len(order)} images make {len(order) // rows}")
    for batch in range(count):
        found = []
        for place in order[batch * rows : (batch + 1) * rows]:
            element, rng = source[int(place)], np.random.default_rng([seed, int(place)])
            # The views draw their geometry first.
            geometry = draw_geometry(copy.deepcopy(rng), *element["image"].shape[:2], crop)
            row = views(element, rng)
            found.append(row | {"label": crop_label(element["label"], geometry, crop)})
        yield {key: np.stack([row[key] for row in found]) for key in found[0]}


def terms(teacher, threshold: float, batch) -> dict[str, Any]:
    """Each loss as a function of the student's logits; means over the valid pixels."""
    valid = batch["valid"]
    chances = jax.nn.softmax(teacher)
    kept = valid & (chances.max(-1) >= threshold)

    def mean(pixel_losses, where=valid):
        return losses.masked_sum(pixel_losses, where) / jnp.maximum(valid.sum(), 1)

    def cross_entropy(logits, labels):
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)
        return -chosen[..., 0]

    known = batch["label"] != IGNORED
    labels = jnp.where(known, batch["label"], 0).astype(jnp.int32)
    top, places = jax.lax.top_k(teacher, TOP)

    def top_kl(logits):
        own = jax.nn.log_softmax(jnp.take_along_axis(logits, places, -1))
        return jnp.sum(jax.nn.softmax(top) * (jax.nn.log_softmax(top) - own), -1)

    found = {
        TRUTH: lambda logits: mean(cross_entropy(logits, labels), known),
        PSEUDO: lambda logits: mean(cross_entropy(logits, teacher.argmax(-1)), kept),
        "soft labels": lambda logits: mean(-jnp.sum(chances * jax.nn.log_softmax(logits), -1)),
        f"KL over the top {TOP}": lambda logits: mean(top_kl(logits)),
        "CC, l2": lambda logits: mean(pixel_cc_loss(teacher, logits, top_n=TOP)),
        "CC, kl": lambda logits: mean(pixel_cc_loss(teacher, logits, top_n=TOP, kind="kl")),
    }
    for tau in TAUS:
        rank = functools.partial(pixel_rcc_loss, teacher, top_n=TOP, temperature=tau)
        found[f"rank, tau {tau:g}"] = lambda logits, rank=rank: mean(rank(logits))
    return found


def make_measure(run: Run, threshold: float):
    """A jitted function from weights and batch to the products of pairs of gradients, and pixels.

    The names of the gradients are those of `terms`.
    """

    @jax.jit
    def measure(weights, batch):
        trained = run.network.trained(weights)

        def forward(params):
            student = run.network.student(trained.replace(params=params).completed(weights))
            logits = student(passes.interleave(batch["weak"], batch["strong1"]))
            weak, strong = passes.separate(logits.astype(jnp.float32))
            return strong, weak

        strong, pull_back, teacher = jax.vjp(forward, trained.params, has_aux=True)
        functions = terms(teacher, threshold, batch).values()
        slopes = jnp.stack([jax.grad(function)(strong) for function in functions])
        # One backward pass after another.
        gradients = jax.lax.map(lambda slope: pull_back(slope)[0], slopes)
        flat = jnp.concatenate(
            [leaf.reshape(len(slopes), -1) for leaf in jax.tree.leaves(gradients)], axis=1
        )
        agreement = [
            pixel_rcc_loss(teacher, strong, top_n=TOP, temperature=tau) for tau in (1.0, 0.1)
        ]
        chances = jax.nn.softmax(teacher)
        found = Pixels(chances.max(-1), *agreement, teacher.argmax(-1), batch["label"])
        return flat @ flat.T, jax.tree.map(lambda x: x[:, ::EVERY, ::EVERY].ravel(), found)

    return measure


def measure_step(run: Run, threshold: float, count: int, seed: int) -> dict[str, Any]:
    """All numbers of a checkpoint."""
    weights = run.initial_state(print).weights
    measure, names, products, pixels = make_measure(run, threshold), [], [], []
    for batch in batches(run, count, seed):
        names = names or list(terms(jnp.zeros((1, 1, 1, TOP)), threshold, batch))
        gram, found = jax.device_get(measure(weights, batch))
        products.append(gram.astype(np.float64))
        pixels.append(found)
    return {
        "predictors": predictors(pixels, threshold),
        "gradients": cosines(products, names),
        "rare": rare_shares(pixels, threshold, run.config.data.num_classes),
    }


def show(step: str, found: dict[str, Any]) -> None:
    print(f"\nstep {step}: AUC that a pseudo label is right, all pixels | below the threshold")
    for name, each in found["predictors"].items():
        print(f"  {name:32s} {each['all']:.3f} | {each['below the threshold']:.3f}")
    print("cosine with the true labels' gradient, mean and standard deviation | orthogonal part")
    for name, each in found["gradients"].items():
        line = f"  {name:32s} {np.mean(each['cosine']):+.2f} ± {np.std(each['cosine']):.2f}"
        rest = each["orthogonal"]
        print(line + (f" | {np.mean(rest):+.2f} ± {np.std(rest):.2f}" if rest else ""))
    rare = found["rare"]
    shares = ", ".join(f"{name} {100 * share:.1f}%" for name, share in rare["shares"].items())
    print(f"the five rarest classes {rare['classes']}: {shares}")
    print(f"kept {rare['kept']:.2f}, right {rare['right']:.2f}, right if kept", end=" ")
    print(rare["right if kept"], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--steps", required=True, help="checkpoints, by commas")
    parser.add_argument("--truth", required=True, help="list of unlabelled images and their masks")
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0, help="of images and views")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    workdir = arguments.workdir.resolve()
    threshold = recorded.get_config(workdir).method.confidence_threshold
    record = {**environment.describe(), "run": workdir.name, "threshold": threshold, "steps": {}}
    for step in arguments.steps.split(","):
        try:
            run = open_run(workdir, step, arguments.truth)
            found = measure_step(run, threshold, arguments.batches, arguments.seed)
        except (ConfigError, DataError) as error:
            sys.exit(f"error: {error}")
        show(step, found)
        record["steps"][step] = found
        if arguments.results:
            arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
