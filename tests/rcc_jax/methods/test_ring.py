"""The memory of negatives by hand, and against a plain queue."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.methods import ring


def push(*classes, most=2):
    """A push of single numbers, a list of them per class."""
    keys = [[*values, *[-1.0] * (most - len(values))] for values in classes]
    return ring.Push(
        np.array(keys, np.float32)[..., None], np.array([len(x) for x in classes], np.int32)
    )


def test_a_full_class_loses_its_oldest_and_an_absent_one_nothing():
    memory = ring.empty(2, 3, 1)
    pushed = jax.jit(ring.pushed)
    memory = pushed(memory, push([1, 2], [7]))
    assert memory.filled.tolist() == [2, 1]
    assert memory.keys[..., 0].tolist() == [[1, 2, 0], [7, 0, 0]]
    memory = pushed(memory, push([3, 4], []))
    assert memory.filled.tolist() == [3, 1]
    assert memory.place.tolist() == [1, 1]
    assert memory.keys[..., 0].tolist() == [[4, 2, 3], [7, 0, 0]]
    assert memory.keys.dtype == jnp.bfloat16


@pytest.mark.parametrize("slots", [4, 5, 40])
def test_the_newest_are_kept_and_can_be_read_before_they_are_pushed(slots):
    rng = np.random.default_rng(slots)
    memory, most = ring.empty(3, slots, 1), 4
    queues = [collections.deque(maxlen=slots) for _ in range(3)]
    pushed, read = jax.jit(ring.pushed), jax.jit(jax.vmap(ring.read, (None, None, 0, None)))
    for step in range(12):
        # The last class never comes, others with 0 to 4 values; whole numbers fit in bfloat16.
        new = [list(rng.integers(0, 256, rng.integers(0, most + 1)) + 0.0) for _ in range(2)]
        pushing = push(*new, [], most=most)
        ahead = read(memory, pushing, np.arange(3), np.arange(slots))
        memory = pushed(memory, pushing)
        for queue, values in zip(queues, new, strict=False):
            queue.extend(values)
        found, ahead = jax.device_get((memory, ahead))
        for c, queue in enumerate(queues):
            filled = int(found.filled[c])
            assert filled == len(queue), step
            assert sorted(found.keys[c, :filled, 0].tolist()) == sorted(queue)
            np.testing.assert_array_equal(ahead[c, :filled], found.keys[c, :filled])
    assert not memory.filled[2]
