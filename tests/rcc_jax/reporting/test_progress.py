import io
import subprocess
import sys

from rcc_jax.reporting.progress import Progress


def test_progress_without_a_terminal_is_one_line_per_log():
    stream = io.StringIO()
    with Progress(10, 4, stream=stream) as progress:
        progress.message("resumed")
        progress.update(5)
        progress.update(6, {"loss": 0.123456, "wait_share": 0.25})
        progress.update(10, {"loss": 1e-7})
        progress.describe("second run")
        progress.update(10, {})
    lines = stream.getvalue().splitlines()
    assert lines[0] == "resumed"
    assert lines[1].startswith("step 6/10  loss 0.1235  wait_share 0.25  left 0:00:0")
    assert lines[2] == "step 10/10  loss 1e-07  left 0:00:00"
    assert lines[3] == "second run: step 10/10  left 0:00:00"
    assert "\r" not in stream.getvalue()


def test_preparations_before_the_first_step_are_not_counted(monkeypatch):
    now, stream = 0.0, io.StringIO()
    monkeypatch.setattr("rcc_jax.reporting.progress.time.monotonic", lambda: now)
    with Progress(10, 0, stream=stream) as progress:
        now = 500.0
        progress.begin()
        now = 502.0
        progress.update(1, {})
    assert stream.getvalue() == "step 1/10  left 0:00:18\n"


def test_progress_without_a_terminal_leaves_tqdm_alone():
    use = "import sys, rcc_jax.reporting.progress as p; p.Progress(1, 0)"
    script = f"{use}; assert 'tqdm' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_a_bar_that_messages_do_not_break():
    stream = Terminal()
    with Progress(10, 4, stream=stream) as progress:
        progress.update(6, {"loss": 0.5})
        progress.message("evaluated")
        progress.describe("second run")
        progress.update(10, {"loss": 0.25})
    drawn = stream.getvalue()
    assert "loss 0.25" in drawn
    assert "10/10" in drawn
    assert "\rsecond run: " in drawn
    assert "evaluated\n" in drawn
