"""What `make demo` shows: how long it takes, one bar, and the errors of its runs."""

import contextlib
import io
import json
import re
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from benchmarks import followed_runs
from configs import demo
from rcc_jax.reporting.progress import Progress
from rcc_jax.training.timing import compile_step
from rcc_jax.workdir.checkpoints import Checkpoints
from tests.rcc_jax.reporting.test_progress import Terminal
from tests.support.commands import ENVIRONMENT, REPOSITORY, finish
from tests.support.runs import wait_until
from tests.support.small_state import make_state, steps_on_disk


@pytest.mark.slow
def test_time_and_a_failed_run_are_said(tmp_path):
    (tmp_path / "demo-method=supervised,seed=0").write_text("no folder")
    command = [sys.executable, REPOSITORY / "benchmarks" / "demo.py", f"--folder={tmp_path}"]
    ended = subprocess.run(
        command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout.startswith("2 runs, 1300 steps: about 5 minutes on two idle CPU cores")
    fault, place = ended.stderr.splitlines()
    assert f"{tmp_path}/demo-method=supervised,seed=0" in fault
    assert place.startswith("error: supervised, seed 0 ended with exit code 2")


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


class Lines(contextlib.closing):
    """Standard output of a run, whose lines come one by one."""

    def __iter__(self):
        return self.thing


def test_time_left_is_counted_from_the_first_step(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("rcc_jax.reporting.progress.time.monotonic", lambda: now)

    def output():
        nonlocal now
        _, ready = compile_step(jax.jit(lambda state, batch: (state, batch)), *jnp.zeros((2, 1)))
        for moment, line in ((0.0, "compiling"), (500.0, ready), (502.0, "step 100/1000  loss 1")):
            now = moment
            yield f"{line}\n"

    with followed_runs.Followed(1000, 0) as followed:
        followed.follow(Lines(output()), "rcc, seed 0", lambda step: step)
    assert capsys.readouterr().out.splitlines()[-1] == "step 100/1000  left 0:00:18"


def test_bar_stands_for_all_runs_and_never_moves_back(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    with followed_runs.Followed(10, 3) as followed:
        followed.run("first", ["--help"], 4, 3)
        followed.run("second", ["--help"], 6, 0)
    drawn = sys.stdout.getvalue()
    places = [int(place) for place in re.findall(r" (\d+)/10 ", drawn)]
    assert places == sorted(places)
    assert set(places) == {3, 4, 10}
    assert "first:  40%" in drawn
    assert "second: 100%" in drawn


def test_the_weights_that_other_methods_start_from_survive_interruptions(tmp_path):
    """A run that is stopped saves one more checkpoint, which must not push out that of START."""
    config = demo.get_config("method=supervised")
    steps = [demo.START, *range(demo.START + 10, config.train.num_steps, 50)]
    with Checkpoints(tmp_path, keep=config.checkpoint.keep) as checkpoints:
        for step in steps:
            checkpoints.save(
                step, make_state(step), metric=float(step), protocol="whole", wait=True
            )
    assert demo.START in steps_on_disk(tmp_path)


@pytest.mark.slow
def test_a_signal_lets_the_run_save(tmp_path):
    command = [sys.executable, REPOSITORY / "benchmarks" / "demo.py", f"--folder={tmp_path}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=ENVIRONMENT, **pipes)
    wait_until(process, (tmp_path / "demo-method=supervised,seed=0" / "data.json").exists)
    process.send_signal(signal.SIGINT)
    _, errors = finish(process, 130)
    assert "SIGINT: noticed" in errors
    assert "stopped and saved after step" in errors
    assert errors.endswith("stopped in supervised, seed 0; the same command resumes from there.\n")


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
