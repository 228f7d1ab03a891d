"""Fields that several methods share, and the decays of their EMA teachers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rcc_jax.methods.lazy import jnp
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.base import Clock


def ramped(decay: float) -> Callable[[Clock], Array]:
    """A decay that grows from 0, so that the early average is a plain mean of the weights."""

    def at(clock: Clock) -> Array:
        return jnp.minimum(decay, 1 - 1 / (clock.step + 1))

    return at


def constant(decay: float) -> Callable[[Clock], Array]:
    """The same decay at every step."""

    def at(clock: Clock) -> Array:
        return jnp.asarray(decay)

    return at


def copied_first(decay: float) -> Callable[[Clock], Array]:
    """`ramped`, but a plain copy of the student in the first epoch."""

    def at(clock: Clock) -> Array:
        return jnp.where(clock.step < clock.steps_per_epoch, 0, ramped(decay)(clock))

    return at


def ema_option(default: float) -> Any:
    """The field `ema_decay` with a method's own default."""
    return option(
        default,
        "Decay of the EMA teacher, such as 0.996; 0 = none: the student labels in its place.",
        at_least=0,
        below=1,
        short="ema",
        symbol="EMA",
    )


def threshold_option(default: float, doc: str, **more: Any) -> Any:
    """The field `confidence_threshold` with a method's own default and meaning."""
    return option(default, doc, at_least=0, at_most=1, short="gamma", symbol="gamma", **more)


def consistency_option(default: float) -> Any:
    """The field `consistency_weight` with a method's own default."""
    return option(
        default,
        "Weight w of the squared difference.",
        at_least=0,
        short="consistency",
        symbol="w",
    )


def label_threshold_option(default: float) -> Any:
    """`threshold_option` of hard pseudo labels that are dropped below it."""
    return threshold_option(
        default,
        "Confidence gamma: pseudo labels below it are ignored.",
        only_with=("pseudo_labels", "hard"),
    )
