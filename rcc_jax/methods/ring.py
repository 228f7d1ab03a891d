"""A memory of vectors per class: the newest ones, in arrays of fixed shapes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Ring(NamedTuple):
    """The newest vectors of every class. A full row overwrites its oldest vector.

    Attributes:
        keys: bfloat16 [K, slots, D].
        place: int32 [K], the slot of the next vector.
        filled: int32 [K], number of vectors, in the first slots.
    """

    keys: jax.Array
    place: jax.Array
    filled: jax.Array


class Push(NamedTuple):
    """Vectors to add to a ring.

    Attributes:
        keys: [K, M, D], M at most the slots of the ring, oldest first.
        number: int32 [K], how many of them count; the others are padding at the end.
    """

    keys: jax.Array
    number: jax.Array


def empty(num_classes: int, slots: int, features: int, dtype: Any = jnp.bfloat16) -> Ring:
    """A ring without vectors."""
    # Two arrays, because the state is donated and no buffer can be donated twice.
    place, filled = (jnp.zeros(num_classes, jnp.int32) for _ in range(2))
    return Ring(jnp.zeros((num_classes, slots, features), dtype), place, filled)


def pushed(ring: Ring, push: Push) -> Ring:
    """The ring with more vectors.

    >>> ring = empty(1, 3, 1)
    >>> for pair in ([1, 2], [3, 4]):
    ...     ring = pushed(ring, Push(jnp.array(pair).reshape(1, 2, 1), jnp.array([2])))
    >>> ring.keys.ravel().tolist(), ring.place.tolist(), ring.filled.tolist()
    ([4.0, 2.0, 3.0], [1], [3])
    """
    classes, slots = ring.keys.shape[:2]
    offset = jnp.arange(push.keys.shape[1])[None]
    place = (ring.place[:, None] + offset) % slots
    # A place behind the last slot is dropped.
    place = jnp.where(offset < push.number[:, None], place, slots)
    keys = push.keys.astype(ring.keys.dtype)
    return Ring(
        keys=ring.keys.at[jnp.arange(classes)[:, None], place].set(keys, mode="drop"),
        place=(ring.place + push.number) % slots,
        filled=jnp.minimum(ring.filled + push.number, slots),
    )


def read(ring: Ring, push: Push, of_class: jax.Array, slot: jax.Array) -> jax.Array:
    """Vectors of a class from the ring as it will be after a push, without making that ring.

    Args:
        ring: The ring before the push.
        push: The push.
        of_class: A class, an integer scalar.
        slot: [...] slots.

    Returns:
        [..., D] in the type of the ring.
    """
    offset = (slot - ring.place[of_class]) % ring.keys.shape[1]
    new = push.keys[of_class, jnp.minimum(offset, push.keys.shape[1] - 1)]
    is_new = (offset < push.number[of_class])[..., None]
    return jnp.where(is_new, new.astype(ring.keys.dtype), ring.keys[of_class, slot])
