"""What every process of `test_topologies.py` does: train, save, resume from a checkpoint, evaluate.

python -m tests.support.topology COORDINATOR,INDEX/COUNT START OTHER OUTPUT METHOD
"""

import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np

import input_pipeline
from rcc_jax.distributed import meshes, processes
from rcc_jax.evaluation.evaluator import Evaluator
from rcc_jax.training.validation import evaluate_confusion
from rcc_jax.workdir.checkpoints import Checkpoints
from tests.support.steps import NUM_CLASSES, Setup, make_batch, make_method

STEPS, MIDDLE = 4, 2
METHODS = {
    "unimatch": make_method("unimatch", ema_decay=0.9),
    # One of each kind of memory: statistics of whole batches, a ring of vectors, weights; and one
    # with a second network.
    "daw": make_method("daw", ema_decay=0.9),
    "u2pl": make_method("u2pl", ema_decay=0.9, warm_up_epochs=0, queue_size=64),
    "prevmatch": make_method("prevmatch", snapshots=2, snapshot_threshold=0.3),
    "cps": make_method("cps"),
}
METHOD = METHODS["unimatch"]
# Its search for the hardest pixels goes over all devices many times a step.
OHEM = make_method("supervised", labeled_loss="ohem")


def run(setup, state, steps, save=None):
    """Goes through the steps of the global batches; returns the state and the losses."""
    losses = []
    for step in steps:
        state, scalars = setup.step(state, batch(setup, step))
        losses.append(float(scalars["loss"]))
        if save is not None and step + 1 == MIDDLE:
            save(state)
    return state, losses


def batch(setup, step):
    def own(rows):
        size = len(rows) // processes.count()
        return rows[size * processes.index() :][:size]

    whole = make_batch(setup.method, seed=step, size=9)
    return meshes.place_batch(setup.mesh, jax.tree.map(own, whole))


def restore(setup, folder, step):
    sharding = meshes.replicated(setup.mesh)
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(setup.state),
    )
    with Checkpoints(folder, read_only=True) as checkpoints:
        return checkpoints.restore(shapes, step=step)


def setup_of(name, devices):
    """Network and step in float64; an epoch of two steps, so that there are snapshots."""
    return Setup(METHODS[name], devices, jnp.float64, steps_per_epoch=2)


def plain(leaf):
    # numpy's files do not know bfloat16.
    return np.asarray(leaf.astype(jnp.float32) if leaf.dtype == jnp.bfloat16 else leaf)


def arrays(state):
    return {
        jax.tree_util.keystr(path): plain(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            {name: getattr(state, name) for name in ("weights", "ema", "opt_state", "memory")}
        )
    }


def confusion(setup, weights, devices):
    """Counts of thirteen images, which no number of processes or devices divides."""
    run_like = types.SimpleNamespace(
        partition=input_pipeline.open_partition(
            source="scenes", root="", labeled="0:1", unlabeled=None, val="5:18", num_classes=7
        ),
        padded_shapes=input_pipeline.NO_SHAPES,
        config=types.SimpleNamespace(
            eval=types.SimpleNamespace(batch_size=8), data=types.SimpleNamespace(num_threads=1)
        ),
        evaluator=Evaluator(
            lambda weights, images: jnp.pad(
                setup.network.predict(weights, images), [(0, 0)] * 3 + [(0, 7 - NUM_CLASSES)]
            ),
            num_classes=7,
            mesh=meshes.make_local_mesh() if devices is None else setup.mesh,
        ),
    )
    return evaluate_confusion(run_like, weights)


def work(setup, start, other, output, devices=None):
    """All of it.

    Args:
        setup: Network and step on a mesh, in float64.
        start: Folder with a checkpoint of step 0 (and one named 32, in float32 for `OHEM`).
        other: Folder with a checkpoint of step MIDDLE, written by another topology.
        output: Folder for an own one.
        devices: Set where the mesh is not all devices of this process.

    Returns:
        Arrays by name.
    """
    with Checkpoints(output) as checkpoints:
        state, losses = run(
            setup,
            restore(setup, start, 0),
            range(STEPS),
            lambda state: checkpoints.save(MIDDLE, state, wait=True),
        )
    resumed, _ = run(setup, restore(setup, other, MIDDLE), range(MIDDLE, STEPS))
    return {
        "losses": np.array(losses),
        "confusion": confusion(setup, state.weights, devices),
        **{f"trained{name}": leaf for name, leaf in arrays(state).items()},
        **{f"resumed{name}": leaf for name, leaf in arrays(resumed).items()},
    }


def main(how, start, other, output, method):
    processes.start(how)
    first = np.nan
    if processes.count() == 2 and METHODS[method] is METHOD:
        single = Setup(OHEM, 8)
        _, first = run(single, restore(single, start, 32), range(1))
    jax.config.update("jax_enable_x64", True)
    setup = Setup(METHOD, 8, jnp.float64) if METHODS[method] is METHOD else setup_of(method, 8)
    found = work(setup, start, other, output)
    found["float32"] = np.array(first)
    if processes.is_first():
        np.savez(pathlib.Path(output) / "found.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
