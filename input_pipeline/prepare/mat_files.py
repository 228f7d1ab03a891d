"""Reads 8-bit matrices from MATLAB files with SciPy, in worker processes.

SciPy's reader is compiled code, and some corrupt files crash its process. So it runs in workers
(mat_worker.py): a file that ends its worker is refused like any other corrupt file, and the next
file gets a new worker.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
from typing import Self

import numpy as np

from input_pipeline.errors import WorkerError
from input_pipeline.prepare import mat_worker
from input_pipeline.prepare.mat_worker import REPLY, REQUEST

_PROGRAM = mat_worker.__file__


class MatReaders:
    """A pool of readers; use it in a `with` block, whose end stops the workers.

    Args:
        count: Number of worker processes, which is also the number of files read at a time.
    """

    def __init__(self, count: int):
        self._all = [_Reader() for _ in range(count)]
        self._idle: queue.SimpleQueue[_Reader] = queue.SimpleQueue()
        for reader in self._all:
            self._idle.put(reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._all:
            reader.kill()
        for _ in self._all:  # A thread that uses a reader puts it back first.
            self._idle.get().stop()

    def read_field(self, data: bytes, variable: str, field: str) -> np.ndarray:
        """Reads an 8-bit matrix in a field of a 1x1 struct; may be called from several threads.

        Args:
            data: The bytes of the file.
            variable: Name of the struct.
            field: Name of its field.

        Returns:
            uint8 array [height, width].

        Raises:
            ValueError: The bytes are no such file or hold no such matrix.
            WorkerError: A worker cannot start.
        """
        reader = self._idle.get()
        try:
            return reader.read(variable.encode(), field.encode(), data)
        finally:
            self._idle.put(reader)


class _Reader:
    """One worker process, started when it is first needed and again after it has died."""

    def __init__(self):
        self._process: subprocess.Popen | None = None

    def read(self, *request: bytes) -> np.ndarray:
        """The matrix that a request asks for.

        Raises:
            ValueError: There is no such matrix, or the request crashed the process.
            WorkerError: The process cannot start.
        """
        if self._process is None:
            self._start()
        try:
            self._process.stdin.write(REQUEST.pack(*map(len, request)) + b"".join(request))
            self._process.stdin.flush()
            is_matrix, height, width = REPLY.unpack(self._receive(REPLY.size))
            reply = self._receive(height * width if is_matrix else height)
        except (EOFError, BrokenPipeError):
            raise ValueError(f"SciPy's reader {_end(self.stop())}") from None
        if not is_matrix:
            raise ValueError(reply.tobytes().decode())
        return reply.reshape(height, width)

    def kill(self) -> None:
        """Kills the process, if there is one; a thread that waits for it gets a ValueError."""
        if (process := self._process) is not None:
            process.kill()

    def stop(self) -> int | None:
        """Closes the pipes and waits for the end of the process, if there is one; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(BrokenPipeError):  # The process has not read everything.
            process.stdin.close()
        process.stdout.close()
        return process.wait()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            # -P: the folder of the program is no place to import from.
            [sys.executable, "-P", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # Warnings about files that are refused anyway.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # Their memory counts in the limit.
            start_new_session=True,  # Ctrl-C reaches this process alone.
        )
        try:
            self._receive(REPLY.size)
        except EOFError:
            raise WorkerError(
                f"SciPy's reader of MATLAB files {_end(self.stop())} while it started. Does "
                f'`{sys.executable} -c "import scipy.io"` work? The same command resumes.'
            ) from None

    def _receive(self, size: int) -> np.ndarray:
        received = np.empty(size, np.uint8)
        if self._process.stdout.readinto(received) < size:
            raise EOFError
        return received


def _end(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
