"""Losses and gradient norms of 30 steps in float64, recorded: what a step computes.

Weights come from numpy's RandomState, whose numbers never change;
batches from its Generator and dropped channels from JAX's threefry, which gave the same numbers
with numpy 2.4 and 2.5 and with jax 0.10.2 and 0.12.0. The network is two convolutions with
BatchNorm between: rounding does not grow in it (1e-15 on the weights is 1e-15 after 30 steps), so a
difference comes from the equations. The learning rate is left out: it is computed in float32, and
rounded otherwise where the compiler does not optimise, which moves the losses by 2e-8.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rcc_jax.distributed import meshes
from rcc_jax.models.network import Weights
from rcc_jax.training import train_state, train_step
from tests.support.steps import NUM_CLASSES, STEPS_PER_EPOCH, Setup, make_batch, make_method

RECORD = pathlib.Path(__file__).with_name("trajectory.json")
METHODS = {
    "supervised": make_method("supervised"),
    "fixmatch": make_method("fixmatch", confidence_threshold=0.45),
    "unimatch": make_method("unimatch", confidence_threshold=0.45),
    "rcc": make_method("rcc", confidence_threshold=0.45),
    "cc, OHEM, EMA teacher": make_method(
        "cc",
        confidence_threshold=0.45,
        labeled_loss="ohem",
        ohem_min_kept=100,
        ema_decay=0.9,
    ),
    "mean_teacher": make_method("mean_teacher", ema_decay=0.9),
    "cps": make_method("cps"),
    "cps without CutMix": make_method("cps", confidence_threshold=0.0, cutmix="off"),
    "co_training": make_method("co_training"),
    "cutmix_seg": make_method("cutmix_seg", confidence_threshold=0.45, ema_decay=0.9),
    "augseg + rcc": make_method("augseg", confidence_threshold=0.45, consensus="rank"),
    "imas": make_method("imas", confidence_threshold=0.45),
    "daw + rcc": make_method("daw", consensus="rank"),
    "prevmatch": make_method("prevmatch", snapshots=2, snapshot_threshold=0.3),
    "dual_teacher + rcc": make_method("dual_teacher", confidence_threshold=0.45, consensus="rank"),
    "corrmatch": make_method("corrmatch", confidence_threshold=0.45, regions=4),
    "unimatch_v2, soft": make_method("unimatch_v2", pseudo_labels="soft", ema_decay=0.9),
    "class_balanced": make_method("class_balanced", confidence_threshold=0.45, ema_decay=0.9),
    "u2pl": make_method("u2pl", ema_decay=0.9, warm_up_epochs=0),
    "unimatch_u2pl, released": make_method(
        "unimatch_u2pl", confidence_threshold=0.45, contrast_rule="released"
    ),
}
# Of the others, an epoch is as long as in `tests/support/steps.py`.
SHORT_EPOCHS = {"prevmatch": 2, "dual_teacher + rcc": 2}
STEPS, SIZE, ROWS = 30, 17, 4
TOLERANCE = 1e-6


def trajectory(name: str, steps: int = STEPS) -> dict[str, list[float]]:
    """The scalars of every step except the learning rate, by name; needs `jax.enable_x64(True)`."""
    method = METHODS[name]
    setup = Setup(
        method,
        1,
        jnp.float64,
        num_steps=STEPS,
        steps_per_epoch=SHORT_EPOCHS.get(name, STEPS_PER_EPOCH),
    )
    weights, key = _weights(setup), jax.random.key(1, impl="threefry2x32")
    state = train_state.create(
        weights,
        setup.optimizer,
        key,
        ema=bool(method.teachers),
        term_names=train_step.watched_terms(method),
        memory=method.memory(weights, NUM_CLASSES, key),
    )
    # As a step returns it, so that the second step is not compiled anew.
    state = jax.device_put(state, meshes.replicated(setup.mesh))
    found: dict[str, list[float]] = {}
    for step in range(steps):
        state, scalars = setup.step(state, make_batch(method, ROWS, seed=step, size=SIZE))
        for term, value in jax.device_get(scalars).items():
            if term != "learning_rate":
                assert value.dtype == np.float64
                found.setdefault(term, []).append(float(value))
    return found


def _weights(setup: Setup) -> Weights:
    """Normal kernels, variance 1 / fan in; everything else as BatchNorm starts, biases zero."""
    draws = np.random.RandomState(0)  # noqa: NPY002

    def fill(path, leaf):
        if leaf.ndim > 1:
            return draws.standard_normal(leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))
        name = jax.tree_util.keystr(path)
        return np.full(leaf.shape, float("scale" in name or "var" in name))

    shapes = nnx.eval_shape(lambda: setup.build(jax.random.key(0)))
    _, *parts = nnx.split(shapes, nnx.Param, nnx.BatchStat)
    return Weights(
        *(jax.tree_util.tree_map_with_path(fill, nnx.to_pure_dict(part)) for part in parts)
    )


def deviation(found: dict[str, list[float]], name: str) -> float:
    """The largest relative difference from the recorded trajectory, over as many steps as given."""
    recorded = json.loads(RECORD.read_text())["trajectories"][name]
    assert found.keys() == recorded.keys()

    def of_term(term: str) -> float:
        values, expected = np.array(found[term]), np.array(recorded[term][: len(found[term])])
        # A term may be 0 at first.
        return float(np.max(np.abs(values - expected) / np.maximum(np.abs(expected), 1e-12)))

    return max(map(of_term, found))
