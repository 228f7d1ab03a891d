"""The environment of a run or a measurement: versions, device and commit."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess

import jax

from input_pipeline.files import write_atomically
from rcc_jax import shipped
from rcc_jax.workdir import revisions

# Of these depends how fast a step is on a CPU.
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def describe() -> dict:
    """Versions, device, processor, commit and revision of the numerics of this process."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    commit = ""
    # A repository around an installed package would be another project's.
    if shipped.IS_CHECKOUT:
        folder = pathlib.Path(__file__).parent
        with contextlib.suppress(OSError):  # Git may not be installed.
            found = subprocess.run(git, cwd=folder, capture_output=True, text=True, check=False)
            commit = found.stdout.strip()
    return {
        "commit": commit or "unknown",
        revisions.KEY: revisions.CURRENT,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
        "cpu": _cpu(),
    }


def _cpu() -> dict:
    """The model of the processor, its instructions that matter here, and the cores in use."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:  # Not Linux.
        return {"model": platform.processor()}
    model = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.*)$", text, re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    return {
        "model": model[1] if model else platform.processor(),
        "instructions": [name for name in _INSTRUCTIONS if name in has],
        "cores": len(os.sched_getaffinity(0)),
    }


def record(path: pathlib.Path, step: int) -> None:
    """Appends the environment to a JSON list, unless it equals the last entry.

    Args:
        path: The file with the list; made if absent.
        step: The last step that is done.
    """
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError):
        entries = []
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        entries = []
    now = describe()
    if not entries or {**entries[-1], "after_step": None} != {**now, "after_step": None}:
        entries.append({"after_step": step, **now})
        write_atomically(path, json.dumps(entries, indent=2) + "\n")
