"""Steps with non-finite numbers: which are skipped, which end the run, and what is kept."""

import math
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rcc_jax.training.train_state import TrainState
from rcc_jax.workdir.checkpoints import Checkpoints

# Beside the checkpoints, so that no run resumes from it.
FOLDER = "nonfinite"


class NonFiniteError(Exception):
    """A loss, gradient or weight became infinite or NaN. The message names step and terms."""


class Verdict(NamedTuple):
    """What becomes of a step, as bool scalars.

    Attributes:
        finite: Whether all watched scalars are finite.
        ends: Whether this step ends the training.
        frozen: Whether nothing changes any more: this step or an earlier one ends the training.
        kept: Whether weights, averages and memory stay as they were.
    """

    finite: jax.Array
    ends: jax.Array
    frozen: jax.Array
    kept: jax.Array

    def choose(self, new: Any, old: Any) -> Any:
        """A tree after the step: the old one if the step is skipped or has ended the training."""
        return jax.tree.map(lambda *leaves: _choose(self.kept, *leaves), new, old)

    def advance(self, new: Any, old: Any) -> Any:
        """Counters of steps after the step: skipped steps count too.

        The learning rate depends on them.
        """
        return jax.tree.map(lambda *leaves: _choose(self.frozen, *leaves), new, old)

    def noted(self, old: TrainState, scalars: dict[str, jax.Array]) -> dict[str, Any]:
        """The fields of the state that count the steps that were not finite."""
        noted = ~(old.bad_step > 0) & ~self.finite
        in_row = jnp.where(self.finite, 0, old.skipped_in_row + 1)
        return {
            "bad_step": jnp.where(self.ends, old.step + 1, old.bad_step),
            "bad_terms": {
                name: jnp.where(noted, scalars[name].astype(jnp.float32), before)
                for name, before in old.bad_terms.items()
            },
            "skipped": old.skipped + (noted & ~self.ends),
            "skipped_in_row": jnp.where(self.frozen, old.skipped_in_row, in_row),
        }


def judge(old: TrainState, scalars: dict[str, jax.Array], max_skipped: int) -> Verdict:
    """Judges a step by its watched scalars.

    A skipped step changes only the counts. After `max_skipped` of them in a row, the next one ends
    the training: the state stays as it was before that step, whatever follows.
    """
    finite = jnp.stack([jnp.isfinite(scalars[name]) for name in old.bad_terms]).all()
    ended = old.bad_step > 0
    ends = ~ended & ~finite & (old.skipped_in_row >= max_skipped)
    return Verdict(finite, ends, _computed_once(ended | ends), _computed_once(ended | ~finite))


def _choose(kept: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    # jnp.where is a jitted function and takes longer to lower, for each of a thousand leaves.
    return jax.lax.select_n(kept, new, old)


def _computed_once(flag: jax.Array) -> jax.Array:
    """The same flag, computed once.

    XLA repeats cheap operations in every loop that reads their result: here everything that is
    computed from the step's scalars, once for each leaf of the state. It does not repeat a square
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
