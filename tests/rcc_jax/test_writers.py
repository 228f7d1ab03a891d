import io
import json
import subprocess
import sys

import numpy as np
import pytest

from rcc_jax.writers import MetricWriter, Progress
from tests.runs import events


def write_steps(path, first, last, *, tensorboard=False):
    """A run from step `first` on: a line every second step, an evaluation every fourth."""
    with MetricWriter(
        path, start_step=first - 1, total_steps=100, tensorboard=tensorboard
    ) as writer:
        for step in range(first, last + 1):
            if step % 2 == 0:
                writer.write(step, {"loss": 0.1 / step, "kept": np.float32(1) / step})
                writer.timing(step, {"steps_per_second": 1.5})
            if step % 4 == 0:
                writer.write(step, {"miou": 50.0 + step, "iou": {"road": 10.0, "car": None}})


def test_lines_hold_exact_numbers_and_stay_json(tmp_path):
    with MetricWriter(tmp_path, start_step=0, total_steps=9, tensorboard=False) as writer:
        value = 0.1 + 0.2
        writer.write(1, {"loss": value, "kept": np.float32(0.1), "count": np.int32(3)})
        writer.write(2, {"loss": float("nan"), "iou": {"road": 1.5, "car": float("inf")}})
        assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    lines = [
        json.loads(line, parse_constant=refuse)
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]
    assert lines[0] == {"step": 1, "loss": value, "kept": float(np.float32(0.1)), "count": 3}
    assert lines[1] == {"step": 2, "loss": None, "iou": {"road": 1.5, "car": None}}


@pytest.mark.parametrize("torn", [b"", b'{"step": 9, "lo', b'{"step": 3}\n{"step": 9\n'])
def test_resumed_metrics_are_the_uninterrupted_ones(tmp_path, torn):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    write_steps(tmp_path / "whole", 1, 12)
    write_steps(tmp_path / "cut", 1, 9)
    with open(tmp_path / "cut" / "metrics.jsonl", "ab") as file:
        file.write(torn)
    write_steps(tmp_path / "cut", 6, 12)
    for name in ("metrics.jsonl", "timing.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_evaluations_are_found_again_up_to_the_restored_step(tmp_path):
    write_steps(tmp_path, 1, 9)
    with MetricWriter(tmp_path, start_step=5, total_steps=100, tensorboard=False) as writer:
        assert writer.has_evaluation(4)
        assert writer.evaluation_score(4) == 54.0
        assert not writer.has_evaluation(2)
        assert not writer.has_evaluation(8)
        assert writer.evaluation_before(4) is None
        assert writer.evaluation_before(8)["iou"] == {"road": 10.0, "car": None}
        writer.write(8, {"miou": 1.0, "miou_ema": 2.0})
        assert writer.evaluation_score(8) == 2.0
        assert writer.evaluation_before(100)["step"] == 8
        with pytest.raises(ValueError, match="step 101"):
            writer.write(101, {"loss": 1.0})


def test_tensorboard_events_start_with_the_purge(tmp_path):
    write_steps(tmp_path, 6, 8, tensorboard=True)
    with MetricWriter(tmp_path, start_step=8, total_steps=100) as writer:
        writer.image(9, "predictions", np.zeros((4, 5, 3), np.uint8))
    found = events(tmp_path)
    starts = {event.step for event in found if event.HasField("session_log")}
    scalars = {(event.step, value.tag) for event in found for value in event.summary.value}
    assert starts == {6, 9}
    assert {(6, "loss"), (8, "miou"), (8, "iou/road"), (9, "predictions")} <= scalars
    assert (8, "iou/car") not in scalars


def test_progress_without_a_terminal_is_one_line_a_log():
    stream = io.StringIO()
    with Progress(10, 4, stream=stream) as progress:
        progress.message("going on")
        progress.update(5)
        progress.update(6, {"loss": 0.123456, "wait_share": 0.25})
        progress.update(10, {"loss": 1e-7})
        progress.describe("second run")
        progress.update(10, {})
    lines = stream.getvalue().splitlines()
    assert lines[0] == "going on"
    assert lines[1].startswith("step 6/10  loss 0.1235  wait_share 0.25  left 0:00:0")
    assert lines[2] == "step 10/10  loss 1e-07  left 0:00:00"
    assert lines[3] == "second run: step 10/10  left 0:00:00"
    assert "\r" not in stream.getvalue()


def test_progress_without_a_terminal_leaves_tqdm_alone():
    script = "import sys, rcc_jax.writers as w; w.Progress(1, 0); assert 'tqdm' not in sys.modules"
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


def test_names_of_classes_are_harmless_in_tensorboard(tmp_path):
    names = ["<script>alert(1)</script>", "</td>`$(id)`", "a\nb"]
    with MetricWriter(tmp_path, start_step=0, total_steps=1) as writer:
        writer.write(1, {"iou": dict.fromkeys(names, 1.0)})
    (path,) = (tmp_path / "tensorboard").iterdir()
    content = path.read_bytes()
    assert b"iou/_script_alert_1__/script_" in content
    assert not any(name.encode() in content for name in names)
