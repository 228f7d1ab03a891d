"""Runs of main.py one after another under one bar: all their steps, and what is being done now."""

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

# Of what a run prints: how far it is, and the lines to pass on. The tables are left out.
_STEP = re.compile(r"step (\d+)/\d+ ")
_PASSED_ON = re.compile(r"step \d+: mIoU|compiling |resuming after ")
# Steps between two lines where there is no terminal.
_PLAIN_EVERY = 100


def steps_done(workdir: pathlib.Path, steps: int) -> int:
    """How many steps of a run its folder has, all of them where it has finished."""
    if (workdir / RESULT).exists():
        return steps
    metrics = workdir / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("\n")), default=0)


class Followed:
    """Runs under one bar; a line now and then where standard output is no terminal."""

    def __init__(self, steps: int, done: int):
        """Draws the bar.

        Args:
            steps: Of all runs together.
            done: So many of them are on disk from an earlier start.
        """
        self._at = done
        self._progress = Progress(steps, done)

    def run(self, title: str, arguments: Sequence[str], steps: int, done: int) -> None:
        """Runs main.py to its end, which must be a good one.

        Args:
            title: What is being done, beside the bar.
            arguments: Of main.py.
            steps: That the run has.
            done: So many of them are on disk from an earlier start.

        Raises:
            SystemExit: With the exit code of the run, after a line, where that is not 0.
        """
        # Lines of the runs, which there name the run, stand between those on all of them.
        self._progress.describe(title if sys.stdout.isatty() else "all runs")
        # Of the other runs; a run that is resumed may repeat steps, which moves no bar back.
        others = self._at - done
        threads = []

        def start_threads(process: subprocess.Popen) -> None:
            output = process.stdout, title, lambda step: others + max(step, done)
            errors = (process.stderr,)
            # Daemons: a second Ctrl-C ends all of it, whoever still holds the pipes.
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
        """Shows what a run prints.

        Args:
            output: Its lines; closed at their end.
            title: What stands before those that are passed on.
            place: From a step of the run to one of the bar.
        """
        with output:
            for line in output:
                if found := _STEP.match(line):
                    step = int(found[1])
                    plain = {} if step % _PLAIN_EVERY == 0 else None
                    self._progress.update(place(step), plain)
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
        return f"stopped in {title}; the same command resumes there."
    return f"error: {title} ended with exit code {code}; what it said is above."
