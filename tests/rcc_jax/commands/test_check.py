"""`--mode=check`: proposals that work, a report, no JAX; other modes without it."""

import json
import shlex
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from rcc_jax import build
from rcc_jax.commands import check as command
from rcc_jax.errors import ConfigError
from tests.support.checking import check, config_of, masks, proposed, save
from tests.support.commands import REPOSITORY


@pytest.mark.parametrize(
    ("values", "num_classes", "pixels"),
    [
        # Two classes: the method that takes them is part of the proposal.
        ([0, 255], 2, [12000, 12000]),
        ([0, 255], 21, [12000, 12000]),
        ([[0, 0, 0], [255, 255, 255]], 2, [12000, 12000]),
        # Three classes, while the consensus has four players by default.
        ([[0, 0, 0], [255, 0, 0], [0, 0, 255]], 3, [8160, 7680, 8160]),
        # An id for pixels without a class.
        ([0, 1, 2, 3, 4, 11], 5, [4320, 3840, 3840, 4320, 3840]),
        ([10, 20, 30, 40], 4, [6240, 5760, 6240, 5760]),
    ],
)
def test_what_is_proposed_works(data, capsys, values, num_classes, pixels):
    masks(data, *values)
    config = config_of(data, **{"data.num_classes": num_classes})
    report = check(config, data, ok=False)
    printed = capsys.readouterr().out
    fields = next(f for f in proposed(report) if any("map" in name for name in f))
    flags = [f"--config.{name}={shlex.quote(str(value))}" for name, value in fields.items()]
    assert " ".join(flags) in printed
    config.update_from_flattened_dict(fields)
    report = check(config, data, ok=True)
    assert "A training can work with these data." in capsys.readouterr().out
    assert [row["labeled_pixels"] + row["val_pixels"] for row in report["classes"]] == pixels
    # Training agrees.
    build.check(config)
    build.open_partition(config)


def test_hints_for_ones_own_folder(data):
    masks(data, 0, 1, 2, 3)
    config = config_of(data, **{"data.num_classes": 21, "data.crop_size": 513})
    hints = proposed(check(config, data, ok=True), "hint")
    assert hints == [{"data.num_classes": 4}, {"data.crop_size": 49}]
    config.update_from_flattened_dict(hints[0] | hints[1])
    (few,) = check(config, data, ok=True)["proposals"]
    assert few["meaning"].startswith("data.val has only 4 images: mIoU and 'best' will mean little")
    assert few["set"] == {}


def test_hint_at_a_validation_part_that_tells_little(data, capsys):
    masks(data, 0, 1, 2, 3)
    for number in range(4, 8):
        save(data / f"m{number}.png", np.arange(3000).reshape(50, 60) % 2)
    fields = {"data.class_names": ("sand", "coral", "rock", "weed")}
    check(config_of(data, **fields), data, ok=True)
    assert (
        "hint: data.val has only 4 images and no pixel of rock, weed, which data.labeled has: mIoU "
        "and 'best' will mean little. Add images of every class to data.val, a list or a folder\n"
    ) in capsys.readouterr().out
    # If the validation images are a share of the labelled ones, a larger share is proposed.
    pairs = (data / "labeled.txt").read_text() + (data / "val.txt").read_text()
    (data / "labeled.txt").write_text(pairs)
    config = config_of(data, **{"data.val": "0.25"})
    assert {"data.val": "0.5"} in proposed(check(config, data, ok=True), "hint")


def test_parts_are_read_though_lists_are_wrong(data, capsys):
    masks(data, 0, 1, 2, 3)
    (data / "labeled.txt").write_text("a b c\n0.png m0.png\n\n1.png\n")
    (data / "unlabeled.txt").unlink()
    (data / "4.png").write_bytes(b"")
    report = check(config_of(data, **{"seed": -1}), data, ok=False)
    assert report["parts"]["val"]["usable"] == 3
    assert {kind: sum(group["counts"].values()) for kind, group in report["errors"].items()} == {
        "settings that cannot work": 1,
        "wrong lines of a list": 2,
        "lists that cannot be used": 1,
        "unreadable images": 1,
    }
    assert report["parts"]["labeled"]["usable"] == 1
    printed = capsys.readouterr().out
    assert "labeled.txt:1: expected one `image label` pair, found 3 columns" in printed
    assert "labeled.txt:4: expected one `image label` pair, found 1 column" in printed
    assert "data.unlabeled = 'unlabeled.txt': no such file or folder" in printed
    report = check(config_of(data / "nowhere"), data, ok=False)
    assert not report["parts"]
    assert len(report["errors"]["lists that cannot be used"]["messages"]) == 1


FAULTS = {
    "seed": -1, "data.num_classes": 1, "data.crop_size": -5, "data.num_threads": 0,
    "data.class_names": ("a", "b", "a"), "data.max_bad": -1, "model.backbone": "resnet51",
    "model.aspp_rates": (1,), "method.top_n": 9, "method.consensus": "kl",
    "method.temperature": 0.0, "optimizer.momentum": 1.0, "train.batch_size": 0,
    "eval.scales": (), "checkpoint.keep": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"data.num_classes": 256},
        {"method.name": "rrc", "method.top_n": 4, "method.consensus": "l2"},
        {"data.source": "zip"},
        {"data.source": "scenes"},
    ],
)
def test_every_fault_of_the_settings_is_listed(data, capsys, more):
    masks(data, 0, 1, 2, 3)
    fields = FAULTS | more
    report = check(config_of(data, **fields), data, ok=False)
    messages = report["errors"]["settings that cannot work"]["messages"]
    printed = capsys.readouterr().out
    if "data.source" not in more:  # Its images are read nevertheless.
        assert report["parts"]["labeled"]["usable"] == 4
    right = {"data.source": "scenes", "method.top_n": 4, "method.consensus": "l2"}
    expected = {field for field, value in fields.items() if right.get(field) != value}
    for field in expected:
        assert sum(line.startswith(f"config.{field} = ") for line in messages) == 1, field
    assert len(messages) == len(set(messages)) == len(expected) + 1  # Names: twice, and too many.
    assert all(line in printed for line in messages)


def test_few_examples_are_printed_and_all_are_counted_and_recorded(data, capsys):
    masks(data, 0, 1, 2, 9)
    report = check(config_of(data), data, ok=False)
    (group,) = report["errors"].values()
    assert group["counts"] == {"labeled": 4, "val": 4}
    assert len(group["messages"]) == 8
    printed = capsys.readouterr().out
    assert printed.count("id 9 with data.num_classes = 4") == 3
    assert "error: masks with values that the settings do not know: 8 (labeled 4, val 4)" in printed
    assert "  and 5 more" in printed


def test_folder_that_cannot_be_written(data):
    masks(data, 0, 1, 2, 3)
    (data / "out").write_text("")
    with pytest.raises(ConfigError, match=r"--workdir=.*out: cannot write there"):
        command.check(config_of(data), data / "out")


def without_jax(flags, folder):
    """Runs main.py where JAX cannot be imported."""
    code = (
        "import runpy, sys\n"
        "sys.modules['jax'] = None  # Importing it fails.\n"
        "sys.argv[0] = 'main.py'\n"
        f"runpy.run_path({str(REPOSITORY / 'main.py')!r}, run_name='__main__')\n"
    )
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin"}
    command = [sys.executable, "-c", code, *flags]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_help_and_what_reads_finished_runs_do_without_jax(tmp_path):
    done = without_jax(["--help"], tmp_path)
    assert "--mode=report" in done.stdout
    assert "Traceback" not in done.stderr
    with tarfile.open(REPOSITORY / "tests/golden/supervised.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    scores = {"step": 12, "miou": 12.5, "best_miou": 12.5, "best_step": 12}
    (tmp_path / "supervised/result.json").write_text(json.dumps(scores))
    for flags in (["--mode=table"], ["--mode=report"]):
        done = without_jax([*flags, f"--workdir={tmp_path}"], tmp_path)
        assert done.returncode == 0, done.stderr
    assert "supervised" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "report.html").exists()


def test_command_without_jax(data, tmp_path):
    masks(data, 0, 255)
    flags = [
        "--mode=check", f"--config={REPOSITORY / 'configs/folder.py'}:method=unimatch",
        f"--config.data.root={data}", "--config.data.labeled=labeled.txt",
        "--config.data.unlabeled=unlabeled.txt", "--config.data.val=val.txt",
        "--config.data.num_classes=2", "--config.data.crop_size=32",
    ]  # fmt: skip
    done = without_jax(flags, data)
    assert done.returncode == 2, done.stderr
    assert "--config.data.label_map=0:0,255:1\n" in done.stdout
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    # The data can be checked before the weights are there, which a training wants.
    flags += ["--config.data.label_map=0:0,255:1", "--config.model.pretrained=weights.pth"]
    done = without_jax(flags, data)
    assert done.returncode == 0, done.stderr
    assert "warning: the training will not start: config.model.pretrained = 'weights.pth'" in (
        done.stdout
    )
    assert "A training can work with these data." in done.stdout
    assert (data / "runs/folder-method=unimatch/check.png").exists()
    # Faults of lists, with all else left to the data: one command names both.
    with open(data / "labeled.txt", "a") as file:
        file.write("5.png\n")
    (data / "val.txt").write_text("")
    done = without_jax([*flags[:3], "--workdir=out"], data)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: these data or settings cannot be used for training")
    assert "labeled.txt:5: expected one" in done.stdout
    assert "val.txt:1: the list is empty" in done.stdout
    assert (data / "out/check.json").exists()


def test_method_needs_unlabeled_images_and_three_classes(data):
    masks(data, 0, 1)
    config = config_of(data, **{"data.num_classes": 2, "data.unlabeled": ""})
    report = check(config, data, ok=False)
    group, empty = report["errors"].values()
    assert empty["messages"] == ["data.unlabeled (not set): no image."]
    assert "needs at least 3 classes" in group["messages"][0]
    assert "use config.method.name=unimatch" in group["messages"][0]
    assert "needs unlabelled images" in group["messages"][1]
    assert proposed(report) == [{"method.name": "unimatch"}]
    config.update_from_flattened_dict({"method.name": "supervised"})
    check(config, data, ok=True)


def test_pseudo_masks_are_read(data, capsys):
    masks(data, 0, 1, 2, 3)
    config = config_of(data)
    folder = data / "pseudo"
    config.update_from_flattened_dict({"method.name": "stpp", "data.pseudo": str(folder)})
    report = check(config, data, ok=False)
    assert "there is no such folder" in report["errors"]["pseudo masks that cannot be used"][
        "messages"
    ][0]  # fmt: skip
    (folder / "labels").mkdir(parents=True)
    for name, value in (("8", 3), ("9", 4), ("10", 3)):
        save(folder / f"labels/{name}.png", np.full((50, 60), value))
    save(folder / "labels/10.png", np.zeros((50, 61)))
    cut = (folder / "labels/8.png").read_bytes()
    (folder / "labels/8.png").write_bytes(cut[: len(cut) // 2])
    capsys.readouterr()
    report = check(config, data, ok=False)
    ((kind, group),) = report["errors"].items()
    assert (kind, group["counts"]) == ("pseudo masks that cannot be used", {"pseudo": 4})
    labels = folder / "labels"
    for message, start in zip(
        group["messages"],
        (
            f"{labels}/8.png: not a readable mask",
            f"{labels}/9.png: id 4 with data.num_classes = 4",
            f"{labels}/10.png: the mask is 61x50, 10.png is 60x50",
            f"{labels}/11.png: no pseudo mask of 11.png; --mode=label",
        ),
        strict=True,
    ):
        assert message.startswith(start)
    printed = capsys.readouterr().out
    assert all(f"  {message}\n" in printed for message in group["messages"])
    assert "pseudo           4 images, 4 of them cannot be used" in printed
    for number in range(8, 12):
        save(labels / f"{number}.png", np.full((50, 60), number % 4))
    assert check(config, data, ok=True)["parts"]["pseudo"]["usable"] == 4
    # Half of the images, and no ranking that says which.
    config.update_from_flattened_dict({"method.images": "reliable"})
    report = check(config, data, ok=False)
    assert "has no ranking.csv" in report["errors"][kind]["messages"][0]
