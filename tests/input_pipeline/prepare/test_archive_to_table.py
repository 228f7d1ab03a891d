"""From official archives to a table of results, with the commands of docs/paper.md."""

import json

import pytest

from input_pipeline.prepare import __main__ as command
from tests.support.commands import finish, start

TINY = (
    "model.pretrained=", "model.backbone=resnet18", "model.width=8", "model.decoder_channels=16",
    "data.crop_size=33", "train.batch_size=1", "train.num_steps=20", "train.log_every=10",
    "eval.every_steps=20", "eval.window=33", "eval.stride=22",
)  # fmt: skip


def run(folder, *flags):
    return finish(start(*flags, folder=folder))[0]


@pytest.fixture
def home(prepared, tmp_path):
    """A working directory with the data where the configurations expect them."""
    data = tmp_path / "data"
    data.mkdir()
    for name, lists in (("pascal", "pascal/92"), ("cityscapes_fine", "cityscapes/1_16")):
        (data / name).symlink_to(prepared / name)
        flags = [f"--data={data / name}", "--count=3", f"--output={data / 'splits' / lists}"]
        assert command.main(["split", *flags]) == 0
    return tmp_path


@pytest.mark.slow
def test_from_archives_to_a_table(home):
    listed = home / "both.py"
    listed.write_text(
        "import ml_collections\n"
        "PASCAL = 'configs/pascal_1_16.py:method=rcc'\n"
        "CITYSCAPES = 'configs/cityscapes_1_16.py:method=fixmatch'\n"
        "def get_config(): return ml_collections.ConfigDict({'runs': (PASCAL, CITYSCAPES)})\n"
    )
    fields = [f"--set={field}" for field in TINY]
    output = run(home, "--mode=sweep", f"--config={listed}", *fields)
    # 9 training images, of which some are SBD's.
    assert "3 labelled (" in output
    assert "6 unlabelled, 3 validation images" in output
    pascal = home / "runs" / "both" / "pascal_1_16-method=rcc"
    counts = json.loads((pascal / "data.json").read_text())
    assert counts["labeled_fine"] + counts["labeled_coarse"] == counts["labeled"] == 3
    result = json.loads((pascal / "result.json").read_text())
    evaluated = run(home, "--mode=eval", f"--workdir={pascal}")
    assert "student, step 20" in evaluated
    evaluation = json.loads((pascal / "evaluation_20.json").read_text())
    assert evaluation["student"]["miou"] == result["miou"]

    table = run(home, "--mode=table", f"--workdir={home / 'runs'}")
    miou = f"{result['miou']:.1f} / {result['best_miou']:.1f} (1)"
    assert "### pascal_classic, resnet18\n" in table
    assert f"| rcc | {miou} |" in table
    assert "### cityscapes, resnet18\n" in table
    assert "| fixmatch | " in table
