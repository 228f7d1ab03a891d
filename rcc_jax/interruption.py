"""Signals that ask a run to stop: noticed at once, acted on between two steps."""

import signal


class Interrupted(Exception):
    """Training stopped because it was asked to; the work so far is saved."""

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        # What a shell reports for a process that died of the signal; clusters restart on 143.
        self.exit_code = 128 + signum


class Interruption:
    """Remembers a SIGTERM or SIGINT while the context is open.

    A second SIGINT raises KeyboardInterrupt at once, for a user who does not want to wait.
    """

    def __init__(self):
        self.signum = 0
        self._previous = {}

    def requested(self) -> bool:
        return self.signum != 0

    def _notice(self, signum, frame):
        if signum == signal.SIGINT and self.signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum

    def __enter__(self):
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._previous[signum] = signal.signal(signum, self._notice)
        return self

    def __exit__(self, *_):
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
