"""ST++ and ST on one cell: the runs of their stages, and the pseudo masks between them.

    python main.py --mode=sweep --config=configs/sweeps/stpp.py:demo,steps=240
    python main.py --mode=sweep --config=configs/sweeps/stpp.py:pascal_1_16,method=st,seeds=3
    python main.py --mode=table --workdir=runs/stpp-demo,steps=240

The first argument is the name of a configuration, the others are its own, except for these:

    method=stpp      or st: self-training in one round, without the ranking
    seeds=1          the seeds 0, 1, ...
    checkpoint=last  the checkpoint that labels, or best: the authors' code takes the best one on
                     the validation images, on which it also measures the result
    epochs=0         length of the first stage, 0 = that of the others; the authors' code lists
                     fewer than 200 labelled images twice, which is the same as epochs=160

The stages of a seed and their folders:

    1-labels     a supervised run; for ST++ it keeps its checkpoints after 1/3 and 2/3 of the steps
    2-masks      its pseudo masks, as PNG files in the colours of the classes; for ST++ a ranking of
                 all images (ranking.csv) and the masks of the first half
    3-reliable   ST++ only: a run on labels and these masks
    4-masks      ST++ only: this run labels the other half, into the folder of 2-masks
    5-all        a run on labels and all masks: the result; 3-all for ST

Every stage resumes: the same command continues a stopped sweep where it was. The files
rcc_jax/methods/st.py and stpp.py name the differences from the authors' code.
"""

from configs import common
from rcc_jax.config import file
from rcc_jax.config.stages import Stage

# A mask is the argmax of the sum over five scales and the mirror image.
LABELLING = ("--config.eval.scales=0.5,0.75,1.0,1.5,2.0", "--config.eval.flip=true")
COPIES = "--config.checkpoint.milestones=3"
CHECKPOINTS = {"last": "latest", "best": "best"}
OWN = {"method": "stpp", "seeds": 1, "checkpoint": "last", "epochs": 0}


def get_config(arguments=None):
    name, *items = (arguments or "pascal_1_16").split(",")
    own = [item for item in items if item.partition("=")[0] in OWN]
    chosen = common.parse_arguments(",".join(own), **OWN)
    method = common.choose(chosen["method"], ("st", "stpp"), "method")
    common.choose(chosen["checkpoint"], CHECKPOINTS, "checkpoint")
    items = [item for item in items if item not in own]
    # Faulty arguments of the cell are reported now, not by the first run.
    file.load(_cell(name, items, method))
    stages = []
    for seed in _seeds(items, chosen["seeds"]):
        rest = [item for item in items if not item.startswith("seed=")]
        stages += _stages(name, [*rest, f"seed={seed}"], method, chosen)
    return common.sweep(stages)


def _cell(name, items, method):
    return f"configs/{name}.py:{','.join([*items, f'method={method}'])}"


def _seeds(items, count):
    given = [item.removeprefix("seed=") for item in items if item.startswith("seed=")]
    return given[-1:] or range(common.at_least_one(count, "seeds"))


def _stages(name, items, method, chosen):
    seed = items[-1]

    def folder(stage):
        return f"{stage},{seed}"

    def label(stage, run, part):
        return Stage(
            folder(stage),
            after=folder(run),
            flags=(
                "--mode=label",
                f"--part={part}",
                f"--checkpoint={CHECKPOINTS[chosen['checkpoint']]}",
                f"--workdir={{{folder(run)}}}",
                f"--output={{{folder('2-masks')}}}",
                *LABELLING,
            ),
        )

    def train(stage, after, *more):
        pseudo = f"--config.data.pseudo={{{folder('2-masks')}}}"
        cell = _cell(name, [*items, *more], method)
        return Stage(folder(stage), cell, after=folder(after), flags=(pseudo,))

    # A length in steps would come first.
    lengths = ("--config.train.num_steps=0", f"--config.train.num_epochs={chosen['epochs']}")
    epochs = lengths if chosen["epochs"] else ()
    first = Stage(
        folder("1-labels"),
        _cell(name, items, "supervised"),
        flags=(*((COPIES,) if method == "stpp" else ()), *epochs),
    )
    if method == "st":
        return [first, label("2-masks", "1-labels", "all"), train("3-all", "2-masks")]
    return [
        first,
        label("2-masks", "1-labels", "reliable"),
        train("3-reliable", "2-masks", "images=reliable"),
        label("4-masks", "3-reliable", "unreliable"),
        train("5-all", "4-masks"),
    ]
