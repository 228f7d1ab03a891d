"""What faults cost: runs are killed, stopped, starved and damaged, then resumed and compared.

    python -m tests.guards.faults --kills=30 --times=3

Each disturbed run must end with the bytes of an undisturbed one: last state (weights, EMA teacher,
optimizer, keys), metrics.jsonl and the scores of result.json. Prints a table: how often a fault
struck, how many steps were repeated at most, and how many runs ended differently.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import random
import re
import resource
import signal
import sys
import tempfile
import time

from tests.support import runs
from tests.support.commands import finish, start_afresh

# Bytes that a file may have on the disk that is full.
FULL = 3000


def kill(command, workdir: pathlib.Path, at: int, rng: random.Random) -> None:
    """SIGKILL at any moment: while it imports, compiles, trains, evaluates or saves."""
    process = start_afresh(*command(workdir))
    time.sleep(rng.uniform(0.5, 9))
    _kill(process)


def kill_in_save(command, workdir: pathlib.Path, at: int, rng: random.Random) -> None:
    """SIGKILL while a checkpoint is being written."""
    process = start_afresh(*command(workdir))
    runs.wait_until(process, lambda: runs.saving(workdir, at))
    time.sleep(rng.uniform(0, 0.03))
    _kill(process)


def terminate(command, workdir: pathlib.Path, at: int, rng: random.Random) -> None:
    """SIGTERM, as clusters send it: saves, says how to resume, exits with 143."""
    process = start_afresh(*command(workdir))
    runs.wait_until(process, lambda: runs.reached(workdir, at))
    process.terminate()
    _, errors = finish(process, 143)
    _require("the same command resumes from there", errors)


def interrupt_twice(command, workdir: pathlib.Path, at: int, rng: random.Random) -> None:
    """Ctrl-C twice: ends at once, without a save of its own."""
    process = start_afresh(*command(workdir))
    runs.wait_until(process, lambda: runs.reached(workdir, at))
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = finish(process, 130)
    _require("the same command resumes", errors)


def fill_disk(command, workdir: pathlib.Path, at: int, rng: random.Random) -> None:
    """No file may grow any more: the next save fails, which ends the run with one line."""
    process = start_afresh(*command(workdir))
    runs.wait_until(process, lambda: runs.reached(workdir, at))
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FULL, FULL))
    _, errors = finish(process, 1)
    _require("Free some space; the same command ", errors)


def cut_checkpoint(command, workdir: pathlib.Path, at: int, rng: random.Random) -> None:
    """The newest checkpoint loses the end of a file."""
    _damage(command, workdir, at, lambda path: os.truncate(path, path.stat().st_size // 2))


def flip_checkpoint(command, workdir: pathlib.Path, at: int, rng: random.Random) -> None:
    """One bit of the newest checkpoint's arrays turns over."""

    def flip(path: pathlib.Path) -> None:
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)

    _damage(command, workdir, at, flip)


def lose_checkpoint(command, workdir: pathlib.Path, at: int, rng: random.Random) -> None:
    """The newest checkpoint loses a file."""
    _damage(command, workdir, at, lambda path: path.unlink())


def kill_worker(command, workdir: pathlib.Path, at: int, rng: random.Random) -> None:
    """A worker process of the input pipeline dies, as one does that ran out of memory."""
    process = start_afresh(*command(workdir, data__num_workers=1, data__num_threads=1))
    # Before the first step is compiled: later on this short run has all its batches.
    runs.wait_until(process, lambda: _workers(process.pid))
    time.sleep(rng.uniform(0, 2))
    for worker in _workers(process.pid):
        os.kill(worker, signal.SIGKILL)
    _, errors = finish(process, 1)
    _require("worker process", errors)


def start_twice(command, workdir: pathlib.Path, at: int, rng: random.Random) -> None:
    """A second run on the folder is refused; the first continues (and is killed in the end)."""
    process = start_afresh(*command(workdir))
    runs.wait_until(process, lambda: runs.reached(workdir, at))
    # Or it may have finished before the second one started.
    process.send_signal(signal.SIGSTOP)
    _, errors = finish(start_afresh(*command(workdir)), 2)
    _require("in use by another run", errors)
    _kill(process)


FAULTS = (
    terminate, interrupt_twice, fill_disk, cut_checkpoint, flip_checkpoint, lose_checkpoint,
    kill_worker, start_twice,
)  # fmt: skip


def _kill(process) -> None:
    process.kill()
    process.communicate()


def _damage(command, workdir: pathlib.Path, at: int, spoil) -> None:
    """Spoils the largest file of the newest checkpoint, once there are two and the step is done."""
    process = start_afresh(*command(workdir))
    runs.wait_until(
        process, lambda: len(runs.saved_steps(workdir)) > 1 and runs.reached(workdir, at)
    )
    _kill(process)
    newest = workdir / "checkpoints" / str(runs.saved_steps(workdir)[-1])
    files = (path for path in newest.rglob("*") if path.is_file())
    spoil(max(files, key=lambda path: path.stat().st_size))


def _workers(parent: int) -> list[int]:
    """The worker processes of the input pipeline that a process has started."""
    found = []
    # Linux lists the children of each thread.
    for children in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # A thread or a child that has ended since.
            for child in children.read_text().split():
                if b"spawn_main" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def _require(text: str, errors: str) -> None:
    if text not in errors or "Traceback" in errors:
        raise AssertionError(f"expected {text!r} and no traceback, found:\n{errors[-5000:]}")


def go_on(command, workdir: pathlib.Path) -> tuple[str, int]:
    """Resumes a run to its end; returns its output, and how many steps it repeated."""
    done = runs.metrics(workdir)[-1]["step"] if runs.reached(workdir, 1) else 0
    output, _ = finish(start_afresh(*command(workdir)))
    after = re.search(r"resuming after step (\d+)", output)
    return output, max(0, done - (int(after[1]) if after else 0))


class Campaign:
    """Counts what faults did to runs.

    Args:
        folder: Where the runs go.
        seed: Of the random moments.
    """

    def __init__(self, folder: pathlib.Path, seed: int):
        self.folder = folder
        self.command = functools.partial(runs.tiny_run, folder / "compiled")
        self.rng = random.Random(seed)
        self.rows: dict[str, dict[str, int]] = {}
        self.reference = folder / "undisturbed"
        finish(start_afresh(*self.command(self.reference)))

    def strike(self, fault, times: int) -> None:
        """Disturbs `times` runs once each, and finishes them."""
        row = self.rows.setdefault(fault.__name__, {"times": 0, "lost": 0, "different": 0})
        for _ in range(times):
            workdir = self.folder / f"{fault.__name__}-{row['times']}"
            fault(self.command, workdir, self.rng.choice((2, 4, 6, 8)), self.rng)
            output, lost = go_on(self.command, workdir)
            if fault in (cut_checkpoint, flip_checkpoint, lose_checkpoint):
                _require("is corrupt and no longer used", output)
            row["times"] += 1
            row["lost"] = max(row["lost"], lost)
            row["different"] += bool(runs.different(workdir, self.reference))
            print(f"{fault.__name__}: {row}", flush=True)

    def table(self) -> str:
        """The counts as Markdown."""
        lines = ["| fault | times | steps done again, at most | different |", "| --- " * 4 + "|"]
        lines += [
            f"| {name.replace('_', ' ')} | {row['times']} | {row['lost']} | {row['different']} |"
            for name, row in self.rows.items()
        ]
        return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="SIGKILLs, half of them in a save")
    parser.add_argument("--times", type=int, default=3, help="how often each other fault strikes")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(pathlib.Path(folder), arguments.seed)
        campaign.strike(kill, arguments.kills - arguments.kills // 2)
        campaign.strike(kill_in_save, arguments.kills // 2)
        for fault in FAULTS:
            campaign.strike(fault, arguments.times)
    print(campaign.table())
    if arguments.results:
        from rcc_jax.workdir import environment  # Here and not above: it loads JAX.

        record = {**environment.describe(), "faults": campaign.rows}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")
    sys.exit(any(row["different"] for row in campaign.rows.values()))


if __name__ == "__main__":
    main()
