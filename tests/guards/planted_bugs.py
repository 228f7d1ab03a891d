"""Plants bugs in the real functions and shows which regression guard notices each.

    python -m tests.guards.planted_bugs

The guards are those of `tests/test_guards.py`: a recorded trajectory of 30 float64 steps, and a run
of 600 steps whose mIoU must lie in a recorded band. Prints a table: by how much the trajectory
differs (relative; 1e-6 is allowed) and how far the mIoU is from the median of nine seeds, in their
standard deviations (4 are allowed). Each bug has a process of its own, of about a minute and a half
on one core.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from rcc_jax.config import guess  # noqa: E402
from rcc_jax.consensus import blocks  # noqa: E402
from rcc_jax.methods import (  # noqa: E402
    augseg,
    class_balanced,
    contrast,
    corrmatch,
    cutmix,
    daw,
    dual_teacher,
    imas,
    losses,
    passes,
    prevmatch,
    pseudo,
    ring,
    two_networks,
    unimatch_v2,
)
from rcc_jax.training import loop  # noqa: E402
from rcc_jax.workdir import environment  # noqa: E402
from tests.guards import run, trajectory  # noqa: E402
from tests.support import commands  # noqa: E402

SEED = 1  # Seed 0 ends far from the others by chance (see `run`).
SHIFT = 4  # Pixels.


def keep_own(mask, partner, own):
    """`cutmix` that pastes nothing."""
    return own


def change_labels(change):
    """`passes.targets` whose labels are changed."""
    original = passes.targets

    def targets(batch, strong_views):
        labeled = {**batch["labeled"], "label": change(batch["labeled"]["label"])}
        return original({**batch, "labeled": labeled}, strong_views)

    return targets


def next_class(labels):
    """The four classes of the run in a circle; 255 stays."""
    return jnp.where(labels == 255, labels, (labels + 1) % 4)


# The replacements: (module, attribute, replacement).
BUGS = {
    "none": [],
    # Images are pasted by the name that `passes` has imported, labels by that of the module.
    "CutMix never pastes": [(passes, "cutmix", keep_own), (cutmix, "cutmix", keep_own)],
    "CutMix pastes images, not their pseudo labels": [(cutmix, "cutmix", keep_own)],
    # Blocks stop it a second time.
    "the teacher's gradient is not stopped": [
        (jax.lax, "stop_gradient", lambda x: x),
        (blocks, "in_blocks", lambda loss, teacher, student: loss(teacher, student)),
    ],
    "labels are one class too high": [(passes, "targets", change_labels(next_class))],
    f"labels lie {SHIFT} pixels too far right": [
        (passes, "targets", change_labels(lambda x: jnp.roll(x, SHIFT, axis=2)))
    ],
}


def all_classes(logits, mass):
    """`pseudo.soft` that leaves out no class."""
    probability = jax.nn.softmax(logits)
    return pseudo.Pseudo(probability, jnp.ones(logits.shape[:-1], bool))


def own_labels():
    """`TwoNetworks.cross_terms` in which each network learns what it says itself."""
    original = two_networks.TwoNetworks.cross_terms

    def cross_terms(self, outputs, *rest):
        pairs = zip(outputs, outputs[::-1], strict=True)
        swapped = [own._replace(weak=other.weak, partner=other.partner) for own, other in pairs]
        return original(self, tuple(swapped), *rest)

    return cross_terms


def same_view():
    """`passes.mixed_views` that returns the first strong view again and again."""
    original = passes.mixed_views
    return lambda batch, strong_views: original(batch, 1) * strong_views


def surest_as_unsure():
    """`contrast.doubt` that takes the surest pixels for the least sure ones."""
    original = contrast.doubt
    return lambda *args: contrast.Doubt(*original(*args)[::-1])


def rule_of_the_paper():
    """`contrast.parts` that ignores the chosen rule."""
    original = contrast.parts
    return lambda pixels, rule: original(pixels, "paper")


def keep_memory(self, memory, *_):
    """`Method.update` that changes nothing."""
    return memory


# Bugs of one method each: the trajectory that notices it, and the replacements.
METHOD_BUGS = {
    "mean_teacher: padding counts": (
        "mean_teacher",
        [(losses, "masked_sum", lambda values, mask: jnp.sum(values))],
    ),
    "cutmix_seg: the teacher's probabilities are not mixed": (
        "cutmix_seg",
        [(cutmix, "cutmix", keep_own)],
    ),
    "augseg: no labelled piece is pasted": (
        "augseg + rcc",
        [(augseg, "certainty", lambda logits: jnp.ones(len(logits), logits.dtype))],
    ),
    "imas: all images are equally hard": (
        "imas",
        [(imas, "agreement", lambda student, *_: jnp.full(len(student), 0.5, student.dtype))],
    ),
    "daw: the threshold is the midpoint of the means": (
        "daw + rcc",
        [(daw, "crossing", lambda mean, *_: jnp.mean(mean))],
    ),
    "unimatch_v2: no channel is dropped": (
        "unimatch_v2, soft",
        [(unimatch_v2, "divide_channels", lambda features, key: features)],
    ),
    "cps: a network learns from itself": (
        "cps",
        [(two_networks.TwoNetworks, "cross_terms", own_labels())],
    ),
    "co_training: both networks see one view": (
        "co_training",
        [(passes, "mixed_views", same_view())],
    ),
    "prevmatch: no snapshot is taken": (
        "prevmatch",
        [(prevmatch.PrevMatch, "update", keep_memory)],
    ),
    "dual_teacher: one teacher is always on duty": (
        "dual_teacher + rcc",
        [
            (
                dual_teacher.DualTeacher,
                "on_duty",
                lambda self, averaged, memory, _: (averaged, memory),
            )
        ],
    ),
    "corrmatch: labels do not spread over regions": (
        "corrmatch",
        [(corrmatch, "grow", lambda label, confident, *_, **__: (label, confident))],
    ),
    "corrmatch: the threshold stays": ("corrmatch", [(corrmatch.CorrMatch, "update", keep_memory)]),
    "class_balanced: confident classes count more": (
        "class_balanced",
        [(class_balanced, "rates", lambda confidence: confidence)],
    ),
    "u2pl: the surest pixels are the negatives": (
        "u2pl",
        [(contrast, "doubt", surest_as_unsure())],
    ),
    "u2pl: the memory stays empty": ("u2pl", [(ring, "pushed", lambda memory, push: memory)]),
    "unimatch_u2pl: the paper's rule is taken for the released one": (
        "unimatch_u2pl, released",
        [(contrast, "parts", rule_of_the_paper())],
    ),
    "soft labels of all classes": ("unimatch_v2, soft", [(pseudo, "soft", all_classes)]),
}


@contextlib.contextmanager
def planted(bug: str):
    """Plants a bug, of `BUGS` or `METHOD_BUGS`, as long as the context is open."""
    replacements = BUGS[bug] if bug in BUGS else METHOD_BUGS[bug][1]
    originals = [(module, name, getattr(module, name)) for module, name, _ in replacements]
    for module, name, replacement in replacements:
        setattr(module, name, replacement)
    try:
        yield
    finally:
        for module, name, original in originals:
            setattr(module, name, original)


def examine(bug: str, folder: pathlib.Path) -> dict:
    """What both guards measure with a bug in this process; the folder holds the drawn data."""
    with planted(bug):
        with jax.enable_x64(True):
            found = trajectory.trajectory("rcc")
        workdir = folder / f"run{list(BUGS).index(bug)}"
        config = run.config(folder / "data", seed=SEED)
        with contextlib.redirect_stdout(io.StringIO()):
            guess.resolve_auto(config, str(workdir))
            miou = loop.train(config, str(workdir))
    return {
        "trajectory": trajectory.deviation(found, "rcc"),
        "miou": miou,
        "deviations": run.in_deviations(miou),
    }


def examine_all(folder: pathlib.Path) -> dict[str, dict]:
    """`examine` for every bug, each in a separate process."""
    run.draw(folder / "data")
    found = {}
    for bug in BUGS:
        command = [
            sys.executable,
            "-m",
            "tests.guards.planted_bugs",
            f"--only={bug}",
            f"--folder={folder}",
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=commands.REPOSITORY)
        found[bug] = json.loads(done.stdout)
    return found


def table(found: dict[str, dict]) -> str:
    """Markdown: a row per bug; bold where a guard notices it."""

    def cell(text: str, noticed: bool) -> str:
        return f"**{text}**" if noticed else text

    lines = ["| planted | trajectory | mIoU | in deviations |", "| --- | --- | --- | --- |"]
    for bug, each in found.items():
        differs, distance = each["trajectory"], each["deviations"]
        cells = [
            cell(f"{differs:.0e}", differs > trajectory.TOLERANCE),
            f"{each['miou']:.1f}",
            cell(f"{distance:+.1f}", abs(distance) > run.WIDTH),
        ]
        lines.append(f"| {bug} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=BUGS, help="this bug, in this process; prints JSON")
    parser.add_argument("--folder", type=pathlib.Path, help="of the drawn data, for --only")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(examine(arguments.only, arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = examine_all(pathlib.Path(folder))
    print(table(found))
    if arguments.results:
        record = {**environment.describe(), "seed": SEED, "bugs": found}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
