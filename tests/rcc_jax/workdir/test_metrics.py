import json

import numpy as np
import pytest

from rcc_jax.workdir.metrics import MetricWriter
from tests.support.runs import events


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
                iou = {"road": 10.0, "car": None}
                writer.write(step, {"miou": 50.0 + step, "iou": iou, "absent": ("car",)})


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
        assert writer.evaluation_before(4, "") is None
        assert writer.evaluation_before(8, "")["iou"] == {"road": 10.0, "car": None}
        writer.write(8, {"miou": 1.0, "miou_ema": 2.0})
        assert writer.evaluation_score(8) == 2.0
        assert writer.evaluation_before(100, "")["step"] == 8
        with pytest.raises(ValueError, match="step 101"):
            writer.write(101, {"loss": 1.0})


def test_scores_of_two_protocols_are_kept_apart(tmp_path):
    write_steps(tmp_path, 1, 8)
    options = {"start_step": 8, "total_steps": 100, "old_protocol": "whole", "tensorboard": True}
    with MetricWriter(tmp_path, **options) as writer:
        writer.write(12, {"protocol": "whole-flip", "miou": 40.0})
        writer.write(16, {"protocol": "whole-flip", "miou": 30.0})
    with MetricWriter(tmp_path, **{**options, "start_step": 16}) as writer:
        assert writer.best_scores().best == {"whole": (8, 58.0), "whole-flip": (12, 40.0)}
        assert writer.best_scores().last_protocol == writer.protocol(12) == "whole-flip"
        assert writer.evaluation_before(12, "whole-flip") is None
        assert writer.evaluation_before(16, "whole-flip")["step"] == 12
        assert writer.evaluation_before(16, "whole")["step"] == 8
    with MetricWriter(tmp_path, **{**options, "start_step": 8}) as writer:
        assert writer.best_scores().last_protocol == "whole"


def test_tensorboard_events_start_with_the_purge(tmp_path):
    write_steps(tmp_path, 6, 8, tensorboard=True)
    with MetricWriter(tmp_path, start_step=8, total_steps=100) as writer:
        writer.image(9, "predictions", np.zeros((4, 5, 3), np.uint8))
    found = events(tmp_path)
    starts = {event.step for event in found if event.HasField("session_log")}
    scalars = {(event.step, value.tag) for event in found for value in event.summary.value}
    assert starts == {6, 9}
    assert {(6, "loss"), (8, "miou"), (8, "iou/road"), (9, "predictions")} <= scalars
    assert not {(8, "iou/car"), (8, "absent")} & scalars


LIMIT = 60_000


def write_much(path, first, last, max_bytes=LIMIT):
    """A run that logs each step and draws a picture of about 7 kB every tenth step."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    with MetricWriter(path, start_step=first - 1, total_steps=900, max_bytes=max_bytes) as writer:
        for step in range(first, last + 1):
            writer.write(step, {"loss": 1 / step, "kept": 0.5})
            writer.timing(step, {"steps_per_second": 1.5})
            if step % 10 == 0:
                writer.image(step, "predictions", noise)
            if step % 100 == 0:
                assert sum(size for _, size in bounded(path)) <= max_bytes


def bounded(path):
    """Files of events and logs with their sizes, without metrics.jsonl."""
    found = [file for file in path.rglob("*") if file.is_file() and file.name != "metrics.jsonl"]
    return [(file, file.stat().st_size) for file in found]


def test_events_and_logs_stay_small_and_metrics_are_never_cut(tmp_path):
    for name in ("whole", "cut", "unbounded"):
        (tmp_path / name).mkdir()
    write_much(tmp_path / "unbounded", 1, 900, max_bytes=2**30)
    assert sum(size for _, size in bounded(tmp_path / "unbounded")) > 10 * LIMIT
    write_much(tmp_path / "whole", 1, 900)
    write_much(tmp_path / "cut", 1, 555)
    write_much(tmp_path / "cut", 501, 900)
    for name in ("whole", "cut"):
        folder = tmp_path / name
        expected = (tmp_path / "unbounded" / "metrics.jsonl").read_bytes()
        assert (folder / "metrics.jsonl").read_bytes() == expected
        assert sum(size for _, size in bounded(folder)) <= LIMIT
        # The newest lines are left, without a gap.
        lines = (folder / "timing.jsonl").read_text().splitlines()
        timing = [json.loads(line)["step"] for line in lines]
        assert timing == list(range(timing[0], 901))
        assert len(timing) > 50
        found = [
            (event.step, value.tag) for event in events(folder) for value in event.summary.value
        ]
        for tag, spacing, least in (("loss", 1, 50), ("predictions", 10, 3)):
            steps = [step for step, each in found if each == tag]
            assert steps == list(range(steps[0], 901, spacing))
            assert len(steps) >= least


def test_large_events_of_an_earlier_version_make_room(tmp_path):
    folder = tmp_path / "tensorboard"
    folder.mkdir()
    (folder / "events.out.tfevents.1700000000.host.after_0").write_bytes(bytes(2 * LIMIT))
    (folder / "notes.txt").write_text("mine")
    write_much(tmp_path, 1, 30)
    assert {path.name for path in folder.glob("*1700000000*")} == set()
    assert (folder / "notes.txt").read_text() == "mine"
    assert {event.step for event in events(tmp_path)} >= {1, 30}


def test_a_picture_larger_than_the_limit_is_left_out(tmp_path):
    with MetricWriter(tmp_path, start_step=0, total_steps=9, max_bytes=6000) as writer:
        writer.write(1, {"loss": 1.0})
        noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
        writer.image(1, "predictions", noise)
        writer.image(2, "predictions", noise[:8])
    found = {(event.step, value.tag) for event in events(tmp_path) for value in event.summary.value}
    assert found == {(1, "loss"), (2, "predictions")}


def test_names_of_classes_are_harmless_in_tensorboard(tmp_path):
    names = ["<script>alert(1)</script>", "</td>`$(id)`", "a\nb"]
    with MetricWriter(tmp_path, start_step=0, total_steps=1) as writer:
        writer.write(1, {"iou": dict.fromkeys(names, 1.0)})
    (path,) = (tmp_path / "tensorboard").iterdir()
    content = path.read_bytes()
    assert b"iou/_script_alert_1__/script_" in content
    assert not any(name.encode() in content for name in names)
