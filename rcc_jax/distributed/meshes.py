"""All devices as one mesh axis, and the placement of arrays on it."""

import collections
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rcc_jax.errors import ConfigError

PyTree = Any


def make_mesh() -> Mesh:
    """Puts all devices, of all processes, on one axis called 'data'.

    The devices of a process are neighbours, so that it supplies consecutive rows of a batch.

    Raises:
        ConfigError: If the processes have different numbers of devices.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    counts = collections.Counter(device.process_index for device in devices)
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"process {index} {count}" for index, count in sorted(counts.items()))
        raise ConfigError(
            f"--distributed: the processes have different numbers of devices ({listed}). Give each "
            "the same number (JAX_LOCAL_DEVICE_IDS=0,1 chooses the devices of a process)."
        )
    return _mesh_of(devices)


def make_local_mesh() -> Mesh:
    """Puts the devices of this process on one axis called 'data'."""
    return _mesh_of(jax.local_devices())


def _mesh_of(devices: Sequence[jax.Device]) -> Mesh:
    # The default axis type is Explicit, which refuses e.g. jnp.roll along the batch.
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that every device holds whole: parameters, statistics, scalars."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: its leading axis is split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def local_device_count(mesh: Mesh) -> int:
    """Number of the mesh's devices that belong to this process."""
    return sum(device.process_index == jax.process_index() for device in mesh.devices.flat)


def place_batch(mesh: Mesh, batch: PyTree) -> PyTree:
    """Makes global arrays from the rows that each process holds.

    Args:
        mesh: The devices, from `make_mesh`.
        batch: A pytree of numpy arrays [rows, ...], the rows of this process; their number is a
            multiple of its devices.

    Returns:
        The same pytree of `jax.Array`s whose leading axis is split over all devices.

    Raises:
        ValueError: If the rows do not divide among the devices of this process.
    """
    sharding, devices = batch_sharding(mesh), local_device_count(mesh)

    def place(array: np.ndarray) -> jax.Array:
        if array.ndim == 0 or array.shape[0] % devices:
            raise ValueError(
                f"cannot split a batch array of shape {array.shape} over {devices} devices: its "
                "leading axis must be a multiple of that number"
            )
        return jax.make_array_from_process_local_data(sharding, array)

    return jax.tree.map(place, batch)


def replicate(mesh: Mesh, tree: PyTree) -> PyTree:
    """Copies a pytree of arrays to every device of a mesh.

    Args:
        mesh: The devices of all processes, or of this one.
        tree: Arrays that are equal in all processes, or replicated already.

    Returns:
        The same pytree of `jax.Array`s.
    """
    sharding = replicated(mesh)

    def place(leaf):
        if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
            return leaf
        if sharding.is_fully_addressable:
            # The array is replicated over all processes, so any local shard is the whole array.
            spread = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
            return jax.device_put(leaf.addressable_data(0) if spread else leaf, sharding)
        return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

    return jax.tree.map(place, tree)


def check_batch_size(batch_size: int, accumulation: int, num_devices: int, field: str) -> None:
    """Refuses a global batch that does not split evenly over accumulation steps and devices.

    Args:
        batch_size: Rows of the global batch.
        accumulation: Number of parts that a step processes one after another.
        num_devices: Devices that share each part.
        field: The config field that holds `batch_size`, for the message.

    Raises:
        ConfigError: Names the nearest sizes, accumulations and device counts that work.
    """
    if accumulation < 1:
        raise ConfigError(
            f"config.train.accumulation={accumulation}: give 1 (no accumulation) or more"
        )
    if batch_size < 1:
        raise ConfigError(f"{field}={batch_size}: use at least 1 row")
    unit = accumulation * num_devices
    if batch_size % unit == 0:
        return
    below = batch_size // unit * unit
    sizes = [str(size) for size in (below, below + unit) if size]
    ways = [f"{field}={' or '.join(sizes)}"]
    if batch_size % num_devices == 0:
        per_device = batch_size // num_devices
        divisors = [n for n in range(1, per_device + 1) if per_device % n == 0]
        nearest = min(divisors, key=lambda n: (abs(n - accumulation), n))
        ways.append(f"config.train.accumulation={nearest}")
    if batch_size % accumulation == 0:
        rows = batch_size // accumulation
        fewer = max(n for n in range(1, num_devices) if rows % n == 0)
        ways.append("one device" if fewer == 1 else f"{fewer} devices")
    raise ConfigError(
        f"{field}={batch_size} does not split evenly over {num_devices} devices"
        f"{f' x {accumulation} accumulation steps' if accumulation > 1 else ''}: "
        f"it must be a multiple of {unit}. Use {', or '.join(ways)}."
    )
