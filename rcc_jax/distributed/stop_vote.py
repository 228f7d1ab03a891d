"""The decision to stop, which all processes must make after the same step."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rcc_jax.distributed import meshes, processes
from rcc_jax.distributed.interruption import Interruption

# Steps between a vote and reading its result, so that reading does not wait for the devices.
_DELAY = 2


class StopVote:
    """Tells every process at the same step that one of them received a signal.

    A process that stopped alone would leave the others waiting in the next collective. So every
    step, each process contributes its signal number to one max-reduction. A single process skips
    this.
    """

    def __init__(self, mesh: Mesh, interruption: Interruption):
        self._mesh = mesh
        self._interruption = interruption
        self._highest = jax.jit(jnp.max, out_shardings=meshes.replicated(mesh))
        self._votes: collections.deque[jax.Array] = collections.deque()
        self._agreed = False

    def cast(self) -> None:
        """Gives this process's vote; every process must call it once per step."""
        if processes.count() == 1:
            return
        devices = meshes.local_device_count(self._mesh)
        vote = np.full(devices, self._interruption.signum, np.int32)
        self._votes.append(self._highest(meshes.place_batch(self._mesh, vote)))
        if len(self._votes) > _DELAY:
            self._agreed = int(self._votes.popleft()) != 0

    def passed(self) -> bool:
        """Whether all processes must stop after this step."""
        return self._agreed if processes.count() > 1 else self._interruption.requested()
