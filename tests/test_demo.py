"""What `make demo` shows: how long it takes, one bar, and the errors of its runs."""

import io
import json
import subprocess
import sys

import pytest

from benchmarks import followed_runs
from rcc_jax.writers import Progress
from tests.commands import ENVIRONMENT, REPOSITORY


def test_time_and_a_failed_run_are_said(tmp_path):
    command = [sys.executable, REPOSITORY / "benchmarks" / "demo.py", f"--folder={tmp_path}"]
    command += ["--steps", "0", "4000"]  # The run itself refuses that, before it loads JAX.
    ended = subprocess.run(
        command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout.startswith("3 runs, 8000 steps: about 50 minutes on two idle CPU cores")
    fault, place = ended.stderr.splitlines()
    assert "'steps=0' must be at least 1" in fault
    assert place.startswith("error: the start of seed 0 ended with exit code 2")


def test_lines_of_a_run_move_one_bar_for_all(capsys):
    written = io.StringIO()
    with Progress(400, 0, stream=written) as progress:
        progress.message("class   student\nroad  50.0\nstep 200: mIoU 50.00 (best 50.00)")
        for step in (20, 200, 390, 400):
            progress.update(step, {"loss": 0.5})
    with followed_runs.Followed(1100, 300) as followed:
        followed.follow(io.StringIO(written.getvalue()), "rcc, seed 0", lambda step: 700 + step)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "rcc, seed 0: step 200: mIoU 50.00 (best 50.00)"
    assert [line.partition("  ")[0] for line in lines[1:]] == ["step 900/1100", "step 1100/1100"]


@pytest.mark.parametrize(
    ("content", "done"), [(None, 0), ([2, 4], 4), ([2, 4, "torn"], 4), ("result", 12)]
)
def test_steps_of_an_earlier_start(tmp_path, content, done):
    if content == "result":
        (tmp_path / "result.json").write_text("{}")
    elif content:
        lines = "\n".join(json.dumps({"step": step}) for step in content if step != "torn")
        (tmp_path / "metrics.jsonl").write_text(lines + "\n" + '{"st' * ("torn" in content))
    assert followed_runs.steps_done(tmp_path, 12) == done
