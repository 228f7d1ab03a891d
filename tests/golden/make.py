"""Makes a golden folder of a run with the current code: `python -m tests.golden.make NAME`.

NAME becomes NAME.tar.xz in this folder, and an entry of README.md says which commit made it. The
run is an RCC run with an EMA teacher, stopped after half of its steps.
"""

import json
import pathlib
import shutil
import signal
import sys
import tarfile
import tempfile

from tests.support import commands, runs

FOLDER = pathlib.Path(__file__).parent
STOPPED = 6
# Not needed to resume, evaluate or predict.
LEFT_OUT = (".lock", "timing.jsonl", "tensorboard")


def make(name: str) -> None:
    """Trains, stops, checks what is there and packs it."""
    archive = FOLDER / f"{name}.tar.xz"
    if archive.exists():
        sys.exit(f"{archive} exists: golden folders are never made anew; take another name.")
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder, name)
        flags = runs.tiny_run("", workdir, checkpoint__keep=1)
        process = commands.start_afresh(*flags)
        runs.wait_until(process, lambda: runs.reached(workdir, STOPPED))
        process.send_signal(signal.SIGTERM)
        commands.finish(process, 128 + signal.SIGTERM)
        saved = runs.saved_steps(workdir)
        # `tests/test_old_runs.py` recognises the steps before the stop by this one.
        if saved != [STOPPED]:
            sys.exit(f"the run was stopped after step {saved}, not {STOPPED}; try once more.")
        for left_out in LEFT_OUT:
            path = workdir / left_out
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        with tarfile.open(archive, "w:xz") as packed:
            packed.add(workdir, name)
        (entry,) = json.loads((workdir / "environment.json").read_text())
    print(f"{archive}: {archive.stat().st_size / 2**20:.1f} MiB, commit {entry['commit']}")
    print(f"| `{archive.name}` | rcc with an EMA teacher, decay 0.9, commit {entry['commit']} |")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    make(sys.argv[1])
