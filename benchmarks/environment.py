"""What a measurement ran on: versions, device and commit, for the records in results/."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess

import jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def describe() -> dict:
    """Versions, device, number of cores and commit of this measurement."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    folder = pathlib.Path(__file__).parent
    commit = subprocess.run(
        git, cwd=folder, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "commit": commit or "unknown",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
    }
