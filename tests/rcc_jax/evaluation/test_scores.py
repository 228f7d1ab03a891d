"""The table of an evaluation: each class once, with its numbers and their changes."""

import itertools
import json
import types

import numpy as np
import pytest

from configs import demo
from rcc_jax.commands import evaluate
from rcc_jax.evaluation.scores import score_table, scores

STAR = "*: not in the ground truth; where predicted it counts as 0 in mIoU"
NAMES = [f"class {number}" for number in range(19)]


def evaluated(shares):
    """Scores with the given IoU in percent; None for a class without pixels."""
    # Each present class has 100 pixels; missed ones are predicted as an extra class.
    confusion = np.zeros((len(shares) + 1,) * 2, np.int64)
    for index, share in enumerate(shares):
        if share is not None:
            confusion[index, [index, -1]] = share, 100 - share
    return scores(confusion, [*NAMES[: len(shares)], "rest"])


def read(text, columns):
    """Numbers by name; each line has this many numbers after each name."""
    head, *lines = text.splitlines()
    width = len(head.split("   class")[0]) + 3
    found = {}
    for line in lines:
        for start in range(0, len(line), width):
            name, *numbers = line[start : start + width].rsplit(maxsplit=columns)
            found[name] = numbers
    return found


def test_every_class_stands_once_in_lines_that_fit():
    shares = range(60, 79)
    text = score_table({"": evaluated(shares)}, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) < 9
    found = read(text.rpartition("\n")[0], 1)
    expected = {name: [f"{share}.0"] for name, share in zip(NAMES, shares, strict=True)}
    assert found == {**expected, "rest*": ["0.0"]}
    # Columns are read downwards.
    assert text.index("class 0 ") < text.index("class 5 ") < text.index("class 1 ")


def test_change_is_that_of_the_network_that_counts():
    before, student, teacher = (
        evaluated([40, 50, 60]),
        evaluated([1, 2, 3]),
        evaluated([42, 50, 59]),
    )
    previous = {"step": 300, "iou": student.iou, "iou_ema": before.iou}
    text = score_table({"": student, "_ema": teacher}, previous)
    table, notes = text.rsplit("\n", 1)
    assert table.splitlines()[0].split()[:4] == ["class", "student", "EMA", "change"]
    assert read(table, 3) == {
        "class 0": ["1.0", "42.0", "+2.0"],
        "class 1": ["2.0", "50.0", "+0.0"],
        "class 2": ["3.0", "59.0", "-1.0"],
        "rest*": ["0.0", "0.0", "+0.0"],
    }
    assert notes == f"change of EMA: since step 300; {STAR}"


@pytest.mark.parametrize("was", [None, 5.0])
def test_classes_without_a_number_have_no_change(was):
    result = evaluated([70, None])
    text = score_table({"": result}, {"step": 1, "iou": {**result.iou, "class 1": was}}, width=30)
    lines = {line.split("  ")[0]: line.split()[2:] for line in text.splitlines()}
    assert lines["class 1*"] == ["-"]
    assert lines["class 0"] == ["70.0", "+0.0"]
    # null in metrics.jsonl: the class had no IoU before.
    text = score_table({"": result}, {"step": 1, "iou": {"class 0": None, "rest": 0.0}}, width=30)
    assert "class 0    70.0\n" in text


def test_names_that_are_wider_than_the_terminal_have_lines_of_their_own():
    text = score_table({"": scores(np.eye(3, dtype=np.int64), ["a" * 50, "b", "c"])}, width=40)
    assert [line.split()[0][0] for line in text.splitlines()] == ["c", "a", "b", "c"]
    for one, other in itertools.pairwise(text.splitlines()):
        assert len(one) == len(other)


def test_scores_of_no_pixel_are_written_as_null():
    run = types.SimpleNamespace(config=demo.get_config())
    written = evaluate._as_json({"student": scores(np.zeros((2, 2), np.int64), ["a", "b"])}, run)
    assert written["student"] == {"miou": None, "iou": {"a": None, "b": None}}
    assert json.dumps(written, allow_nan=False)
