"""Runs main.py several times in turn, with one progress bar for the steps of all runs."""

import json
import pathlib
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TextIO

from tqdm import tqdm

from rcc_jax import shipped
from rcc_jax.commands import sweep
from rcc_jax.reporting.progress import Progress
from rcc_jax.workdir.folder import RESULT

# Lines of a run's output: its progress, and those to pass on. Tables are left out.
_STEP = re.compile(r"step (\d+)/\d+ ")
_PASSED_ON = re.compile(r"step \d+: mIoU|compiling |resuming after ")
# The line at which a run's steps begin.
_READY = "training step ready"
# Steps between two lines if there is no terminal.
_PLAIN_EVERY = 100


def steps_done(workdir: pathlib.Path, steps: int) -> int:
    """Number of steps of a run that are recorded in its folder; all if it has finished."""
    if (workdir / RESULT).exists():
        return steps
    metrics = workdir / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("\n")), default=0)


class Followed:
    """Runs under one bar, or with occasional lines if standard output is not a terminal."""

    def __init__(self, steps: int, done: int):
        """Draws the bar.

        Args:
            steps: Number of steps of all runs together.
            done: Number of steps that are on disk from an earlier start.
        """
        self._at = done
        self._progress = Progress(steps, done)

    def run(self, title: str, arguments: Sequence[str], steps: int, done: int) -> None:
        """Runs main.py to its end; a failed run ends this program too.

        Args:
            title: Title of the run, shown beside the bar.
            arguments: Arguments of main.py.
            steps: Number of steps of the run.
            done: Number of its steps that are on disk from an earlier start.

        Raises:
            SystemExit: If the run fails; a message is printed and the exit code is the run's.
        """
        # Without a terminal, the lines of a run have its title and the lines of the bar do not.
        self._progress.describe(title if sys.stdout.isatty() else "all runs")
        # Steps of the other runs. A resumed run may repeat steps; the bar does not move back.
        others = self._at - done
        threads = []

        def start_threads(process: subprocess.Popen) -> None:
            output = process.stdout, title, lambda step: others + max(step, done)
            errors = (process.stderr,)
            # Daemons, so that a second Ctrl-C ends this program even if a pipe is still open.
            threads.append(threading.Thread(target=self.follow, args=output, daemon=True))
            threads.append(threading.Thread(target=_pass_on, args=errors, daemon=True))
            for thread in threads:
                thread.start()

        pipe = subprocess.PIPE
        command = [*shipped.command(), *arguments]
        code = sweep.run_process(command, start_threads, stdout=pipe, stderr=pipe, text=True)
        for thread in threads:
            thread.join()
        if code:
            self._progress.close()
            print(_what_ended(title, code), file=sys.stderr)
            sys.exit(code if code > 0 else 1)
        self._at = others + steps
        self._progress.update(self._at)

    def follow(self, output: TextIO, title: str, place: Callable[[int], int]) -> None:
        """Shows the output of a run.

        Args:
            output: Standard output of the run; closed at its end.
            title: Prefix of the lines that are passed on.
            place: Maps a step of the run to a position of the bar.
        """
        with output:
            for line in output:
                if found := _STEP.match(line):
                    step = int(found[1])
                    plain = {} if step % _PLAIN_EVERY == 0 else None
                    self._progress.update(place(step), plain)
                elif line.startswith(_READY):
                    self._progress.begin()
                elif _PASSED_ON.match(line):
                    self._progress.message(f"{title}: {line.rstrip()}")

    def __enter__(self) -> "Followed":
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.close()


def _pass_on(errors: TextIO) -> None:
    with errors:
        for line in errors:
            with tqdm.external_write_mode(file=sys.stderr):  # Above the bar.
                print(line, end="", file=sys.stderr, flush=True)


def _what_ended(title: str, code: int) -> str:
    if code in sweep.STOPPED:
        return f"stopped in {title}; the same command resumes from there."
    return f"error: {title} ended with exit code {code}; its messages are above."
