"""SGD as in UniMatch: momentum, weight decay on everything, poly schedule, a faster head."""

import jax
import optax

from rcc_jax.models import families


def poly_schedule(learning_rate: float, num_steps: int, power: float = 0.9) -> optax.Schedule:
    """lr0 * (1 - t / T) ** power for the step t, counted from 0."""
    return optax.polynomial_schedule(learning_rate, 0.0, power, num_steps)


def _outside_encoder(params):
    """True for the leaves outside the encoder, at any depth."""
    return jax.tree_util.tree_map_with_path(lambda path, _: not families.is_encoder(path), params)


def sgd(
    schedule: optax.Schedule,
    *,
    head_multiplier: float = 1.0,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
) -> optax.GradientTransformation:
    """SGD in PyTorch's order: decay is added to the gradient before the momentum.

    Args:
        schedule: Learning rate of the encoder by step.
        head_multiplier: Factor on the learning rate of everything outside the encoder.
        momentum: Decay of the momentum buffer.
        weight_decay: Applied to all parameters, including BatchNorm and biases.

    Returns:
        A transformation over a dict of parameters whose top-level keys name the parts of the
        network.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(decay=momentum),
        optax.masked(optax.scale(head_multiplier), _outside_encoder),
        optax.scale_by_learning_rate(schedule),
    )
