"""What the tests of whole commands share: how main.py is started."""

import os
import pathlib
import socket
import subprocess
import sys
from importlib import metadata

from tests.support import forks

Process = subprocess.Popen | forks.Fork
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# A sixth of the time to compile, which is most of the time of these tests; from jaxlib 0.12 on
# half, since XLA has no other emitters there.
FAST_COMPILATION = [
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
]
if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    FAST_COMPILATION.append("--xla_cpu_use_fusion_emitters=false")
# What the caller set; a process that a test starts has inherited the flags above.
OWN_FLAGS = [x for x in os.environ.get("XLA_FLAGS", "").split() if x not in FAST_COMPILATION]
ENVIRONMENT = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "1",
    # If an option is given twice, XLA takes the later one: the caller's.
    "XLA_FLAGS": " ".join([*FAST_COMPILATION, *OWN_FLAGS]),
}
WORTH_KEEPING = 0.2  # Seconds that a program takes to compile; JAX alone begins at one second.


def use_home(home: pathlib.Path) -> pathlib.Path:
    """Gives the processes a home folder of their own, and in it a cache of compiled programs.

    Both `train.compilation_cache=auto` and an empty one, which leaves the choice to JAX, find it.

    Args:
        home: The folder, made where it is absent.

    Returns:
        The folder of the compiled programs.
    """
    folder = home / ".cache" / "rcc_jax" / "xla"
    folder.mkdir(parents=True, exist_ok=True)
    ENVIRONMENT.update(
        HOME=str(home),
        JAX_COMPILATION_CACHE_DIR=str(folder),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=str(WORTH_KEEPING),
    )
    return folder


def start(
    *flags: object,
    folder: pathlib.Path = REPOSITORY,
    output: pathlib.Path | None = None,
) -> forks.Fork:
    """Starts main.py with these flags in a folder, as a fork that need not import the libraries.

    Where a test is about the process itself, as when it is killed at any moment, `start_afresh`
    serves. `output` takes what main.py writes.
    """
    arguments = [str(flag) for flag in flags]
    return forks.start(
        REPOSITORY / "main.py", arguments, folder=folder, environment=ENVIRONMENT, output=output
    )


def start_afresh(
    *flags: object,
    folder: pathlib.Path = REPOSITORY,
    output=subprocess.PIPE,
    environment=ENVIRONMENT,
) -> subprocess.Popen:
    """Starts main.py as a shell does; `output` takes what it writes."""
    return subprocess.Popen(
        [sys.executable, REPOSITORY / "main.py", *flags],
        cwd=folder,
        env=environment,
        stdout=output,
        stderr=output,
        text=True,
        start_new_session=True,  # A group of its own, for what a terminal sends to all of it.
    )


def finish(process: Process, exit_code: int = 0, timeout: float = 300) -> tuple[str, str]:
    """Output and errors of a process that must end with this code within `timeout` seconds."""
    output, errors = process.communicate(timeout=timeout)
    assert process.returncode == exit_code, f"{output}\n{errors}"
    return output, errors


def free_port() -> int:
    """A port of this machine that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]
