"""The study on CamVid in one command: its runs, the time that it announces, a wrong folder."""

import json

import pytest

from benchmarks import real_images
from configs.sweeps import real_images as listed
from rcc_jax.commands import sweep


def planned(folder, seeds):
    return sweep.plan(listed.get_config(f"drives,seeds={seeds}").runs, folder)


def test_runs_are_paired_by_seed_and_the_gap_is_measured_last(tmp_path):
    runs = planned(tmp_path, 2)
    methods = [real_images.method_of(run) for run in runs]
    assert methods == ["supervised", "unimatch", "rcc"] * 2 + ["supervised"]
    assert "labels=all" in runs[-1].config
    assert set(methods) <= set(real_images.SECONDS)


def test_expected_time_counts_only_what_is_left(tmp_path):
    runs = planned(tmp_path, 1)
    per_step, per_run = real_images.SECONDS, real_images.SECONDS_PER_RUN
    seconds = 400 * (2 * per_step["supervised"] + per_step["unimatch"] + per_step["rcc"])
    assert f"4 runs of 400 steps: about {(seconds + 4 * per_run) / 3600:.1f} hours" in (
        real_images.expected_time(runs)
    )
    runs[0].workdir.mkdir()
    (runs[0].workdir / "metrics.jsonl").write_text(json.dumps({"step": 100}) + "\n")
    seconds += 4 * per_run - 100 * per_step["supervised"]
    assert f"about {seconds / 3600:.1f} hours" in real_images.expected_time(runs)
    for run in runs:
        run.workdir.mkdir(exist_ok=True)
        (run.workdir / "result.json").write_text("{}")
    assert real_images.expected_time(runs) == "all 4 runs are done; they are only read."


@pytest.mark.parametrize("setting", list(listed.SETTINGS))
def test_every_setting_has_all_labels_beside_the_few(setting):
    *runs, last = listed.get_config(f"{setting},seeds=1").runs
    assert len(runs) == 3
    assert "all" in last
    assert "method=supervised" in last


def test_a_folder_that_is_not_camvid_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["real_images.py", f"--data={tmp_path}"])
    with pytest.raises(SystemExit, match="no splits/train.txt"):
        real_images.main()
