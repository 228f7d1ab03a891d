"""Steps with non-finite numbers: which are skipped, which end the run, and what is kept."""

import math
import pathlib

import jax
import jax.numpy as jnp

from rcc_jax.training.train_state import TrainState
from rcc_jax.workdir.checkpoints import Checkpoints

# Beside the checkpoints, so that no run resumes from it.
FOLDER = "nonfinite"


class NonFiniteError(Exception):
    """A loss, gradient or weight became infinite or NaN. The message names step and terms."""


def keep_or_skip(
    old: TrainState, new: TrainState, scalars: dict[str, jax.Array], max_skipped: int
) -> TrainState:
    """The state after a step: the new one, or the old one if a watched scalar is not finite.

    A skipped step changes only the counts. After `max_skipped` of them in a row, the next one ends
    the training: the state stays as it was before that step, whatever follows.
    """
    finite = jnp.stack([jnp.isfinite(scalars[name]) for name in old.bad_terms]).all()
    ended = old.bad_step > 0
    ends = ~ended & ~finite & (old.skipped_in_row >= max_skipped)
    frozen, noted = _computed_once(ended | ends), ~ended & ~finite
    kept = _computed_once(ended | ~finite)

    # jnp.where is a jitted function and takes longer to lower, for each of a thousand leaves.
    def choose(new_leaf, old_leaf):
        # Step counters advance in skipped steps too: the learning rate depends on the step.
        counts = jnp.issubdtype(new_leaf.dtype, jnp.integer)
        return jax.lax.select_n(frozen if counts else kept, new_leaf, old_leaf)

    moving = ("step", "weights", "ema", "opt_state")
    return old.replace(
        **{name: jax.tree.map(choose, getattr(new, name), getattr(old, name)) for name in moving},
        memory=jax.tree.map(
            lambda new_leaf, old_leaf: jax.lax.select_n(kept, new_leaf, old_leaf),
            new.memory,
            old.memory,
        ),
        bad_step=jnp.where(ends, new.step, old.bad_step),
        bad_terms={
            name: jnp.where(noted, scalars[name].astype(jnp.float32), before)
            for name, before in old.bad_terms.items()
        },
        skipped=old.skipped + (noted & ~ends),
        skipped_in_row=jnp.where(
            frozen, old.skipped_in_row, jnp.where(finite, 0, old.skipped_in_row + 1)
        ),
    )


def _computed_once(flag: jax.Array) -> jax.Array:
    """The same flag, computed once.

    XLA repeats cheap operations in every loop that reads their result: here all scalars of a step,
    once for each leaf of the state, which makes up a third of the program. It does not repeat a
    root.
    """
    return jnp.sqrt(flag.astype(jnp.float32)) > 0


def require_finite(state: TrainState, workdir: pathlib.Path, saved_step: int | None) -> None:
    """Raises if a step has ended the training.

    Args:
        state: The state, unchanged since that step.
        workdir: Folder of the run.
        saved_step: Step of the last good checkpoint; None if there is none.

    Raises:
        NonFiniteError: If the loss or a gradient of a step was not finite.
    """
    bad_step = int(state.bad_step)
    if not bad_step:
        return
    row = int(state.skipped_in_row)
    raise NonFiniteError(
        f"step {bad_step} is not finite: {bad_terms(state)}. "
        + (f"The {row} before it were not finite either and were skipped. " if row else "")
        + f"The state before it is in {_keep(state, workdir)}. "
        + (f"The last good checkpoint is step {saved_step}. " if saved_step else "")
        + "Try a lower config.optimizer.learning_rate in a new --workdir."
    )


def require_finite_weights(state: TrainState, workdir: pathlib.Path) -> None:
    """Raises if a weight is not finite although all losses were.

    Raises:
        NonFiniteError: If a weight is not finite.
    """
    if not bool(_all_finite(state.weights)):
        raise NonFiniteError(
            f"the weights after step {int(state.step)} are not finite although its losses were; "
            f"they are in {_keep(state, workdir)}, not among the checkpoints. Try a lower "
            "config.optimizer.learning_rate in a new --workdir."
        )


def bad_terms(state: TrainState) -> str:
    """The non-finite loss terms of the latest step that was not finite, for messages."""
    terms = {name: float(value) for name, value in jax.device_get(state.bad_terms).items()}
    return ", ".join(f"{name} = {x}" for name, x in terms.items() if not math.isfinite(x))


def _keep(state: TrainState, workdir: pathlib.Path) -> pathlib.Path:
    with Checkpoints(workdir / FOLDER, keep=3) as checkpoints:
        checkpoints.save(int(state.step), state.saved(), wait=True)
    return workdir / FOLDER / str(int(state.step))


@jax.jit
def _all_finite(tree) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
