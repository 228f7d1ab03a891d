"""Starts commands as forks of a process that has imported the libraries, which takes seconds.

A fork has its own session, environment, working directory and output, and it ends with the exit
code of the command, as a process that the shell starts does. The process that forks has run no
computation, so it has no threads of XLA.
"""

import atexit
import multiprocessing
import os
import pathlib
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.support.preloaded"])


class Fork:
    """A running command, with what the tests use of `subprocess.Popen`."""

    def __init__(self, process, output: pathlib.Path, errors: pathlib.Path):
        self._process, self._files = process, (output, errors)
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the number of the signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for the end; returns output and errors."""
        self.wait(timeout)
        output, errors = (path.read_text() for path in self._files)
        return output, errors

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    script: pathlib.Path,
    arguments: list[str],
    *,
    folder: pathlib.Path,
    environment: Mapping[str, str],
    output: pathlib.Path | None = None,
) -> Fork:
    """Starts a script of Python.

    Args:
        script: The file.
        arguments: Its arguments.
        folder: Its working directory.
        environment: Its variables. Those that JAX reads when it is imported have to be the same in
            all calls of a process.
        output: A file for output and errors, which are then not returned.
    """
    files = (output, output)
    if output is None:
        place = pathlib.Path(tempfile.mkdtemp(prefix="fork-"))
        files = (place / "output", place / "errors")
        for path in files:
            path.touch()
    process = _CONTEXT.Process(
        target=_work, args=(script, arguments, folder, dict(environment), *files)
    )
    with _variables(environment):  # Of the process that forks, which the first call starts.
        process.start()
    fork = Fork(process, *files)
    if output is None:
        weakref.finalize(fork, shutil.rmtree, place, ignore_errors=True)
    return fork


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted, PYTHONPATH=str(pathlib.Path(__file__).resolve().parents[2]))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _work(script, arguments, folder, environment, output, errors) -> None:
    os.setsid()  # A group of its own, for what a terminal sends to all of it.
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in ((1, output), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        # What an interpreter does at its end, and a fork does not.
        threading._shutdown()
        atexit._run_exitfuncs()
