"""The decision to stop, which all processes have to take after the same step."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rcc_jax.distributed import meshes, processes
from rcc_jax.distributed.interruption import Interruption

# Steps between a vote and its result, which is then there without a wait for the devices.
_DELAY = 2


class StopVote:
    """Tells every process at the same step that one of them was asked to stop.

    A process that stopped alone would leave the others waiting for its share of the next sum. So
    each puts its signal into a sum of its own a step; one process alone asks itself.
    """

    def __init__(self, mesh: Mesh, interruption: Interruption):
        self._mesh = mesh
        self._interruption = interruption
        self._highest = jax.jit(jnp.max, out_shardings=meshes.replicated(mesh))
        self._votes: collections.deque[jax.Array] = collections.deque()
        self._agreed = False

    def cast(self) -> None:
        """Gives this process's vote; to be called once a step by every process."""
        if processes.count() == 1:
            return
        devices = meshes.local_device_count(self._mesh)
        vote = np.full(devices, self._interruption.signum, np.int32)
        self._votes.append(self._highest(meshes.place_batch(self._mesh, vote)))
        if len(self._votes) > _DELAY:
            self._agreed = int(self._votes.popleft()) != 0

    def passed(self) -> bool:
        """Whether all processes are to stop after this step."""
        return self._agreed if processes.count() > 1 else self._interruption.requested()
