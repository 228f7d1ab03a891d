"""SIGTERM and SIGINT: noticed at once, acted on between two steps. No JAX."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_STDERR = 2


class Interrupted(Exception):
    """A signal stopped the program; the work so far is saved."""

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        # The code that a shell reports after death by this signal; clusters restart on 143.
        self.exit_code = 128 + signum


class Interruption:
    """Remembers a SIGTERM or SIGINT while the context is open.

    A second SIGINT raises KeyboardInterrupt at once, so that a user need not wait.

    Args:
        notice: Text that is printed to stderr when the first signal arrives; '' prints nothing.
    """

    def __init__(self, notice: str = ""):
        self.signum = 0
        self._previous = {}
        self._wakeup = _Wakeup(notice) if notice else contextlib.nullcontext()

    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.signum != 0

    def _notice(self, signum, frame):
        if signum == signal.SIGINT and self.signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum

    def __enter__(self):
        for signum in _SIGNALS:
            self._previous[signum] = signal.signal(signum, self._notice)
        self._wakeup.__enter__()
        return self

    def __exit__(self, *error):
        self._wakeup.__exit__(*error)
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)


class _Stopped(BaseException):
    """SIGTERM has arrived. No Exception, so that no library takes it for a fault of its own."""


@contextlib.contextmanager
def stopping_at_once(message: str) -> Iterator[None]:
    """Makes SIGTERM end the context at once, with what it has open closed and removed.

    Args:
        message: What the user is told.

    Raises:
        Interrupted: If the signal arrives.
    """

    def stop(signum, frame):
        raise _Stopped

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except _Stopped:
        raise Interrupted(signal.SIGTERM, message) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Wakeup:
    """Prints the notice of the first signal from a separate thread.

    Python runs a signal handler only when the main thread returns to the interpreter, and a
    compilation keeps it away for minutes. Python's C handler, however, writes to a pipe at once.
    """

    def __init__(self, notice: str):
        self._notice = notice

    def __enter__(self):
        read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._previous = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._tell, args=(read,), daemon=True)
        self._thread.start()

    def __exit__(self, *error):
        signal.set_wakeup_fd(self._previous)
        os.close(self._write)  # The thread then reads the end of the pipe.
        self._thread.join()

    def _tell(self, read: int) -> None:
        told = False
        with open(read, "rb", buffering=0) as pipe:
            while data := pipe.read(1):
                if told or data[0] not in _SIGNALS:
                    continue
                told = True
                # Start below a progress bar, which has no end of line.
                start = "\n" if os.isatty(_STDERR) else ""
                again = "; once more: at once" if data[0] == signal.SIGINT else ""
                line = f"{start}{signal.Signals(data[0]).name}: {self._notice}{again}\n"
                with contextlib.suppress(OSError):
                    os.write(_STDERR, line.encode())
