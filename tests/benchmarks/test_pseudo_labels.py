"""The counts, the table and the picture of `benchmarks/pseudo_labels.py`."""

import argparse
import json

import numpy as np
import pytest

from benchmarks import pseudo_labels
from configs import demo
from rcc_jax.config import method_group
from rcc_jax.errors import ConfigError


def test_counts_are_those_of_a_loop_over_the_pixels():
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, 255], (3, 4, 5)).astype(np.uint8)
    pseudo, confidence = rng.integers(0, 3, (3, 4, 5)), rng.random((3, 4, 5))
    found = pseudo_labels.count(truth, pseudo, confidence, 0.6, 3)
    expected = {name: [0, 0, 0] for name in ("true", "kept", "named", "right")}
    for true, label, chance in zip(truth.flat, pseudo.flat, confidence.flat, strict=True):
        if true == 255:
            continue
        expected["true"][true] += 1
        if chance >= 0.6:
            expected["kept"][true] += 1
            expected["named"][label] += 1
            expected["right"][label] += true == label
    assert {name: counts.tolist() for name, counts in found.items()} == expected


def record():
    counts = {"true": [80, 20, 0], "kept": [40, 5, 0], "named": [30, 15, 0], "right": [27, 3, 0]}
    run = {"run": "a", "method": "rcc", "steps": {"100": counts, "90": counts, "20": counts}}
    # One checkpoint makes no line.
    other = {"run": "b", "method": "unimatch", "steps": {"100": counts}}
    return {"classes": ["cat", "dog", "boat"], "runs": [run, other]}


def test_table_and_picture_of_a_record(tmp_path):
    pseudo_labels.write(record(), tmp_path / "photos")
    lines = (tmp_path / "photos.md").read_text().splitlines()
    assert "unimatch: 1, rcc: 1" in lines[0]
    assert lines[4:] == [
        "| all | 100.0 | 45 / 67 | 45 / 67 |",
        "| cat | 80.0 | 50 / 90 | 50 / 90 |",
        "| dog | 20.0 | 25 / 20 | 25 / 20 |",
        "| boat | 0.0 | - / - | - / - |",
    ]
    drawn = (tmp_path / "photos.svg").read_text()
    assert all(f">{name}<" in drawn for name in ("all", "cat", "dog", "boat", "rcc"))
    assert ">unimatch<" not in drawn
    assert json.loads((tmp_path / "photos.json").read_text()) == record()


def test_ratio_has_no_value_without_pixels():
    assert pseudo_labels.ratio(1, 4) == pytest.approx(25)
    assert pseudo_labels.ratio(0, 0) is None


def test_the_kept_table_and_picture_are_those_of_the_record(tmp_path):
    kept = pseudo_labels.RESULTS / "photos_pseudo_labels"
    pseudo_labels.write(json.loads(kept.with_suffix(".json").read_text()), tmp_path / kept.name)
    for ending in (".md", ".svg"):
        assert (tmp_path / kept.name).with_suffix(ending).read_text() == (
            kept.with_suffix(ending).read_text()
        )


def test_runs_that_cannot_be_measured_are_named(tmp_path):
    arguments = argparse.Namespace(workdirs=[tmp_path], truth="", seed=0, name="x")
    for method, said in (("supervised", "method supervised has no threshold"),
                         ("rcc", "there is no checkpoint; train first")):  # fmt: skip
        config = method_group.resolved(demo.get_config(f"method={method}"))
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigError, match=f"{tmp_path}: {said}"):
            pseudo_labels.measure_all(arguments, {"runs": []})
