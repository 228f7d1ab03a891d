"""What the consensus can be computed of. Depends on jax alone."""

import jax
import jax.numpy as jnp

MIN_PLAYERS, MAX_PLAYERS = 2, 8


def at_least_float32(logits: jax.Array, name: str) -> jax.Array:
    logits = jnp.asarray(logits)
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(f"{name} must be floating-point logits, got {logits.dtype}")
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def check_players(count: int, what: str) -> None:
    if not MIN_PLAYERS <= count <= MAX_PLAYERS:
        raise ValueError(f"{what} must be from {MIN_PLAYERS} to {MAX_PLAYERS}, got {count}")


def check_temperature(temperature: float) -> None:
    if not isinstance(temperature, jax.Array) and not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")


def check_same_shape(teacher: jax.Array, student: jax.Array, what: str) -> None:
    if jnp.shape(teacher) != jnp.shape(student):
        raise ValueError(
            f"teacher and student {what} must have the same shape, "
            f"got {jnp.shape(teacher)} and {jnp.shape(student)}"
        )
