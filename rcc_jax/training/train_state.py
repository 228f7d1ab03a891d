"""Everything that changes during training, as one pytree."""

import dataclasses
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from rcc_jax.models.network import Weights


@flax.struct.dataclass
class TrainState:
    """State of training after `step` steps.

    Attributes:
        step: int32 scalar, number of finished steps.
        weights: The student.
        ema: The EMA teacher, or None where teacher and student share weights. Without the encoder
            if that is frozen: it is the student's.
        opt_state: State of the optimizer.
        rng: Typed key; the key of a step is `fold_in(rng, step)`.
        bad_step: int32 scalar, the step (from 1) whose loss or gradient was not finite and that
            ended the training, else 0; from then on the state does not change.
        bad_terms: The loss terms of the latest step that was not finite.
        skipped: int32 scalar, number of steps skipped because they were not finite.
        skipped_in_row: int32 scalar, number of consecutive skipped steps up to now.
        memory: State of the method that has no gradient; None for most methods.
    """

    step: jax.Array
    weights: Weights
    ema: Weights | None
    opt_state: optax.OptState
    rng: jax.Array
    bad_step: jax.Array
    bad_terms: dict[str, jax.Array]
    skipped: jax.Array
    skipped_in_row: jax.Array
    memory: Any = None

    @property
    def averaged(self) -> Weights | None:
        """All weights of the EMA teacher; None if there is none."""
        return None if self.ema is None else self.ema.completed(self.weights)

    def saved(self) -> dict[str, Any]:
        """The fields as stored in a checkpoint.

        Without a memory there is no such entry, so older checkpoints can be restored.
        """
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        if self.memory is None:
            del fields["memory"]
        return fields


def create(
    weights: Weights,
    optimizer: optax.GradientTransformation,
    rng: jax.Array,
    *,
    ema: bool,
    term_names: tuple[str, ...],
    memory: Any = None,
    freeze_encoder: bool = False,
) -> TrainState:
    """State before the first step; the EMA teacher starts as a copy of the student.

    Args:
        weights: Initial weights.
        optimizer: The optimizer.
        rng: Typed key of `jax.random.key`.
        ema: Whether there is an EMA teacher.
        term_names: Names of the scalars that are checked for non-finite values.
        memory: The initial memory of the method.
        freeze_encoder: Whether the encoder is not trained; it then has no state of the optimizer
            and no second copy in the EMA teacher.
    """
    trained = weights.outside_encoder() if freeze_encoder else weights
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        weights=weights,
        # A copy, because the state is donated and no buffer can be donated twice.
        ema=jax.tree.map(jnp.copy, trained) if ema else None,
        opt_state=optimizer.init(trained.params),
        rng=rng,
        bad_step=jnp.zeros((), jnp.int32),
        bad_terms={name: jnp.zeros((), jnp.float32) for name in term_names},
        skipped=jnp.zeros((), jnp.int32),
        skipped_in_row=jnp.zeros((), jnp.int32),
        # Weak types, which JAX gives to Python's numbers, would change in the first step.
        memory=jax.tree.map(lambda x: jnp.asarray(x, x.dtype), memory),
    )
