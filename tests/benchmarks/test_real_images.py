"""The study on CamVid in one command: its runs, the time that it announces, a wrong folder."""

import json

import pytest
from PIL import Image

from benchmarks import real_images
from configs.sweeps import real_images as listed
from rcc_jax import build
from rcc_jax.commands import sweep
from rcc_jax.config import file


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
    loaded = [file.load(run) for run in listed.get_config(f"{setting},seeds=1").runs]
    for config in loaded:
        build.check(config)
    few, *_ = loaded
    (whole,) = [each for each in loaded if each.data.labeled == "splits/train.txt"]
    assert few.method.name == whole.method.name == "supervised"
    assert (few.data.val, few.train.num_steps) == (whole.data.val, whole.train.num_steps)
    assert len({config.train.num_steps for config in loaded}) == 1


def test_an_interrupted_preparation_is_repeated(tmp_path):
    data, small = tmp_path / "data", tmp_path / "small"
    names = [f"{drive}_{frame:03d}" for drive in ("0006R0", "0001TP") for frame in range(100)]
    for folder in ("images", "labels", "splits"):
        (data / folder).mkdir(parents=True)
    rows = [f"images/{name}.png labels/{name}.png\n" for name in names]
    (data / "splits/train.txt").write_text("".join(rows))
    for name in names:
        Image.new("RGB", (4, 4)).save(data / f"images/{name}.png")
        Image.new("L", (4, 4)).save(data / f"labels/{name}.png")
    (small / "images").mkdir(parents=True)  # What an interrupted start leaves.
    real_images.prepare(data, small)
    assert len(list((small / "images").iterdir())) == 200
    labeled = (small / "splits/drives/labeled.txt").read_text().split("\n")
    assert labeled[0].startswith("images/0006R0_")
    assert len(labeled) == 13
    (small / "images" / f"{names[0]}.png").unlink()
    real_images.prepare(data, small)  # Complete: nothing is written again.
    assert not (small / "images" / f"{names[0]}.png").exists()
    with pytest.raises(SystemExit):
        real_images.prepare(tmp_path / "absent", tmp_path / "other")


def test_a_folder_that_is_not_camvid_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["real_images.py", f"--data={tmp_path}"])
    with pytest.raises(SystemExit, match="no splits/train.txt"):
        real_images.main()
