"""An inspection reads all data and finds all faults."""

import shutil

import numpy as np
import pytest

from input_pipeline import findings, open_partition
from input_pipeline.inspection.inspect import inspect_partition


def inspect(partition, **changes):
    return inspect_partition(partition, **{"as_colors": False, "num_threads": 2, **changes})


def test_sound_data(folder):
    calls = []
    folder.save("i/8.jpg", np.zeros((20, 30, 3)))
    found = inspect(folder.open(), progress=lambda: calls.append(1))
    assert (found.errors, found.warnings, len(calls)) == ({}, {}, 9)
    labeled, unlabeled = found.parts["labeled"], found.parts["unlabeled"]
    assert labeled.num_masks == 3
    masks = [folder.open().labeled[index]["label"] for index in range(3)]
    np.testing.assert_array_equal(labeled.pixels, np.bincount(np.ravel(masks), minlength=256))
    assert labeled.images[[0, 1, 2, 255]].tolist() == [3, 3, 3, 3]
    assert dict(labeled.sizes) == {(50, 40): 3}
    assert dict(unlabeled.sizes) == {(50, 40): 3, (30, 20): 1}
    assert unlabeled.usable.all()
    assert unlabeled.num_masks == 0


def test_all_faults_are_found_at_once(folder):
    shutil.copy(folder.root / "i/0.jpg", folder.root / "i/leak.jpg")
    shutil.copy(folder.root / "i/5.jpg", folder.root / "i/again.jpg")
    folder.save("m/0.png", np.full((40, 50), 7))  # An id out of range ...
    folder.save("m/1.png", np.full((50, 40), 9))  # ... also in a mask of another size.
    folder.save("m/2.png", np.zeros((40, 50, 3)))
    folder.save("m/3.png", np.full((40, 50), 255))
    folder.write("m/4.png", "no png")
    folder.write("i/6.jpg", "")
    folder.write("i/7.jpg", "no jpeg")
    folder.write("i/1.jpg", "no jpeg")
    folder.write("labeled.txt", "".join(f"i/{n}.jpg m/{n}.png\n" for n in range(3)))
    folder.write("val.txt", "i/3.jpg m/3.png\ni/4.jpg m/4.png\ni/leak.jpg m/5.png\ni/8.jpg m/8.jpg")
    unlabeled = [5, "again", 6, 7, 8, "gone", 5]
    folder.write("unlabeled.txt", "".join(f"i/{n}.jpg\n" for n in unlabeled))
    found = inspect(folder.open(class_names=("a", "b")))
    counts = {kind: dict(group.counts) for kind, group in found.errors.items()}
    assert counts == {
        findings.VALUES: {"labeled": 2},
        findings.IMAGE: {"labeled": 1, "unlabeled": 2},
        findings.COLORED: {"labeled": 1},
        findings.MASK: {"val": 1},
        findings.MISSING: {"val": 1, "unlabeled": 1},
        findings.TWICE: {"unlabeled": 1},
        findings.OVERLAP: {"val and unlabeled": 1},
        findings.SETTINGS: {"settings": 1},
    }
    assert {kind: dict(group.counts) for kind, group in found.warnings.items()} == {
        findings.LEAK: {"val": 1},
        findings.COPY: {"unlabeled": 1},
        findings.BLANK: {"val": 1},
    }
    said = found.warnings[findings.LEAK].examples[0][0]
    assert said == "i/0.jpg (labeled) and i/leak.jpg (val) are the same image"
    assert "m/0.png: id 7" in found.errors[findings.VALUES].examples[0][0]
    assert found.values[[7, 9]].tolist() == [2000, 2000]
    assert found.colors == {0: 2000}
    assert found.parts["val"].usable.tolist() == [True, False, True, False]
    # A mask of another size is reported even if its ids are wrong too.
    folder.save("i/1.jpg", np.zeros((40, 50, 3)))
    assert inspect(folder.open()).errors[findings.SIZE].counts == {"labeled": 1}


def test_classes_without_a_pixel(folder):
    for number in range(3):
        folder.save(f"m/{number}.png", np.eye(40, 50))
    found = inspect(folder.open(num_classes=5))
    group = found.warnings[findings.ABSENT]
    assert group.counts == {"labeled": 3, "val": 2}
    assert [text for text, _ in group.examples] == ["labeled: 2, 3, 4", "val: 3, 4"]


@pytest.mark.parametrize("values", [[0, 255], [255]])
def test_masks_that_teach_nothing(folder, values):
    for number in range(5):
        folder.save(f"m/{number}.png", np.resize(values, (40, 50)))
    found = inspect(folder.open())
    assert list(found.errors) == [findings.NO_USE]


def test_a_part_without_an_image(folder):
    found = inspect(folder.open(val=None))
    assert found.errors[findings.EMPTY].counts == {"val": 1}
    found = inspect(folder.open(unlabeled=""))
    assert found.errors[findings.EMPTY].counts == {"unlabeled": 1}
    # Supervised training has no unlabelled images.
    assert not inspect(folder.open(unlabeled=None), required=["labeled", "val"]).errors


def test_scenes_are_counted_too():
    ranges = {"labeled": "0:3", "unlabeled": "5:9", "val": "2:4"}
    partition = open_partition(source="scenes", root="", num_classes=7, **ranges)
    found = inspect(partition)
    assert found.errors[findings.OVERLAP].counts == {"labeled and val": 1}
    assert not found.warnings.get(findings.LEAK)
    assert found.parts["labeled"].pixels.sum() == 3 * 96 * 96
