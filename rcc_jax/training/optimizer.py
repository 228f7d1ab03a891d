"""SGD as in UniMatch and AdamW as in UniMatch V2: decay on everything, a faster head.

Their `update` takes `choose(new, old)`, which decides whether a step counts. It chooses among the
averages first and moves the weights by those. If the choice came after both, each would be computed
from the old values of the other, and a CPU would hold a copy of both during the whole step. Another
such function, `advance`, decides about the step of the learning rate.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from rcc_jax.models import families

_EPSILON = 1e-8  # Of Adam, as in PyTorch.


def poly_schedule(learning_rate: float, num_steps: int, power: float = 0.9) -> optax.Schedule:
    """lr0 * (1 - t / T) ** power for the step t, counted from 0."""
    return optax.polynomial_schedule(learning_rate, 0.0, power, num_steps)


def _outside_encoder(params):
    """True for the leaves outside the encoder, at any depth."""
    return jax.tree_util.tree_map_with_path(lambda path, _: not families.is_encoder(path), params)


def _choosing(
    inner: optax.GradientTransformation,
    direction: Callable[[Any], Any] | None = None,
    by: str = "choose",
) -> optax.GradientTransformationExtraArgs:
    """A transformation of gradients with a choice between its new state and the old one.

    Args:
        inner: The transformation.
        direction: Its updates as a function of its new state, if they depend on nothing else.
        by: The argument of `update` that chooses. Without it, the new state is taken.
    """

    def update(updates, state, params=None, **choices):
        updates, new = inner.update(updates, state, params)
        new = choices[by](new, state) if by in choices else new
        return (direction(new) if direction else updates), new

    return optax.GradientTransformationExtraArgs(inner.init, update)


def build(
    fields: ml_collections.ConfigDict, schedule: optax.Schedule
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of `config.optimizer`."""
    shared: dict[str, Any] = {
        "head_multiplier": fields.head_multiplier,
        "weight_decay": fields.weight_decay,
    }
    if fields.name == "adamw":
        return adamw(schedule, beta1=fields.beta1, beta2=fields.beta2, **shared)
    return sgd(schedule, momentum=fields.momentum, **shared)


def sgd(
    schedule: optax.Schedule,
    *,
    head_multiplier: float,
    momentum: float,
    weight_decay: float,
) -> optax.GradientTransformationExtraArgs:
    """SGD in PyTorch's order: decay is added to the gradient before the momentum.

    Args:
        schedule: Learning rate of the encoder by step.
        head_multiplier: Factor on the learning rate of everything outside the encoder.
        momentum: Decay of the momentum buffer.
        weight_decay: Applied to all parameters, including BatchNorm and biases.

    Returns:
        A transformation over a dict of parameters.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        _choosing(optax.trace(decay=momentum), lambda state: state.trace),
        optax.masked(optax.scale(head_multiplier), _outside_encoder),
        _choosing(optax.scale_by_learning_rate(schedule), by="advance"),
    )


def adamw(
    schedule: optax.Schedule,
    *,
    head_multiplier: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
) -> optax.GradientTransformationExtraArgs:
    """AdamW as in PyTorch: the decay is not part of the gradient.

    Args:
        schedule: Learning rate of the encoder by step.
        head_multiplier: Factor on the learning rate outside the encoder; the weight decay there
            scales with it.
        beta1: Decay of the mean of the gradient.
        beta2: Decay of the mean of its square.
        weight_decay: Applied to all parameters, times the learning rate.

    Returns:
        A transformation over a dict of parameters.

    References:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """

    def direction(state):
        # What optax computes, from the averages that were chosen.
        mean = optax.tree.bias_correction(state.mu, beta1, state.count)
        square = optax.tree.bias_correction(state.nu, beta2, state.count)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + _EPSILON), mean, square)

    return optax.chain(
        _choosing(optax.scale_by_adam(beta1, beta2, eps=_EPSILON), direction),
        optax.add_decayed_weights(weight_decay),
        optax.masked(optax.scale(head_multiplier), _outside_encoder),
        _choosing(optax.scale_by_learning_rate(schedule), by="advance"),
    )
