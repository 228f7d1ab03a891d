"""Consensus maps and tables of a run."""

import json

import numpy as np
import pytest
from PIL import Image

from configs import demo, recorded
from input_pipeline.sources import scenes
from rcc_jax.commands import explain as explain_command
from rcc_jax.commands.explain import explain
from rcc_jax.errors import ConfigError
from tests.support.commands import finish, start


def test_consensus_of_teacher_and_student_is_written(workdir, tmp_path, capsys):
    config = recorded.get_config(workdir)
    found, failed = explain(
        config, str(workdir), output=str(tmp_path), pair="barred_fish,netted_shell"
    )
    assert failed == 0
    assert (found.num_images, found.num_pixels) == (3, 3 * scenes.SIZE**2)
    # Six pairs per pixel, each in two cells of the table.
    assert found.counts().sum() == 12 * found.num_pixels
    # Student and teacher have other weights.
    assert np.nanmax(np.abs(found.mean("teacher") - found.mean("student"))) > 0.01
    lines = (tmp_path / "pairs.csv").read_text().splitlines()
    assert lines[0] == "class_a,class_b,pixels,teacher,student"
    first, second, _, mean, _ = lines[1].split(",")
    printed = capsys.readouterr().out
    assert f"mean consensus of the teacher's top {found.top_n} over 3 images" in printed
    table = [row.split(",") for row in (tmp_path / "teacher.csv").read_text().splitlines()]
    names = table[0][1:]
    assert tuple(names) == scenes.CLASS_NAMES
    assert table[1 + names.index(first)][1 + names.index(second)] == mean
    assert all(table[1 + index][1 + index] == "" for index in range(len(names)))
    made = {path.name for path in tmp_path.iterdir()}
    assert {"student.csv", "counts.csv", "consensus.svg", "consensus.json"} <= made
    assert json.loads((tmp_path / "consensus.json").read_text())["teacher"] == "EMA teacher"
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"made with other settings:\n  input: .*/run_a"):
        explain(config, str(workdir), output=str(tmp_path), images="run_a/*.png")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(ConfigError, match="the folder holds other files"):
        explain(config, str(workdir), output=str(workdir))
    with pytest.raises(ConfigError, match="no class 'barred_fisch'. Did you mean 'barred_fish'?"):
        explain(config, str(workdir), output=str(tmp_path), pair="barred_fisch,seabed")
    with pytest.raises(ConfigError, match="name two different classes"):
        explain(config, str(workdir), output=str(tmp_path), pair="seabed,seabed")
    with pytest.raises(ConfigError, match="path of a checkpoint needs --output"):
        explain(config, str(workdir), checkpoint=str(workdir / "checkpoints/7"))


@pytest.mark.slow
def test_from_the_command_line_a_bad_image_shows_in_the_exit_code(workdir, pictures, tmp_path):
    common = (f"--workdir={workdir}", f"--input={pictures[0]}")
    explaining = start("--mode=consensus", *common, f"--output={tmp_path / 'consensus'}")
    output, errors = finish(start("--mode=predict", *common, f"--output={tmp_path}/predicted"), 1)
    assert "image 3/3" in output
    skipped, summary = errors.splitlines()
    assert skipped.startswith(f"skipped: {pictures[0]}/broken.jpg: not a readable image")
    assert summary.startswith("error: 1 of 3 images could not be read")
    assert (tmp_path / "predicted" / "labels" / "more" / "lying.png").exists()
    assert (tmp_path / "predicted" / "legend.png").exists()
    output, errors = finish(explaining, 1)
    assert "top 4 over 2 images" in output
    assert errors.splitlines()[1] == "error: 1 images could not be read (listed above)."
    assert (tmp_path / "consensus" / "pairs.csv").exists()


def test_a_consensus_of_a_version_that_recorded_no_checksum_is_replaced(tmp_path):
    options = {"checkpoint": "runs/5", "weights": "ab", "flip": False, "top_n": 4}
    file = tmp_path / explain_command._RECORD
    file.write_text(json.dumps({**options, "weights": "cd"}))
    with pytest.raises(ConfigError, match="a consensus of other weights: runs/5 was written anew"):
        explain_command._check_folder(tmp_path, options)
    file.write_text(json.dumps({name: options[name] for name in ("checkpoint", "flip", "top_n")}))
    explain_command._check_folder(tmp_path, options)


def test_pictures_of_an_earlier_start_are_no_input(tmp_path):
    for name in ("a.png", "out/pair.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 6)).save(tmp_path / name)
    config = demo.get_config()
    count, _ = explain_command._photo_batches(config, str(tmp_path), tmp_path / "out", {})
    assert count == 1
