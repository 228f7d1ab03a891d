"""Lists of keys for a prepared TFDS data set."""

import numpy as np
import pytest

import input_pipeline
from input_pipeline import DataError
from tests.support.record_datasets import keyed, open_plain


def test_lists_of_keys(plain, tmp_path):
    root = keyed(plain[0])
    (tmp_path / "labeled.txt").write_text("i/train5.png m/train5.png\n./i/train0.png x\n")
    (tmp_path / "val.txt").write_text("i/test2.png\r\n")
    lists = {"labeled": str(tmp_path / "labeled.txt"), "val": str(tmp_path / "val.txt")}
    partition = open_plain(root, **lists)
    input_pipeline.check_partition(partition)
    assert list(partition.labeled.ids) == ["i/train5.png", "i/train0.png"]
    assert list(partition.unlabeled.ids) == [f"i/train{n}.png" for n in (1, 2, 3, 4, 6, 7)]
    np.testing.assert_array_equal(partition.labeled[0]["image"], plain[1]["train:5"][0])
    np.testing.assert_array_equal(partition.val[0]["image"], plain[1]["test:2"][0])
    (tmp_path / "labeled.txt").write_text("i/train5.png\ntrain[:2]\n")
    with pytest.raises(
        DataError, match=r"txt:2: no image train\[:2\] \(it is a slice; set data\.labeled "
    ):
        open_plain(root, **lists)
    # A check opens the known keys of a list and reports the unknown ones.
    (tmp_path / "labeled.txt").write_text("i/train5.png\ni/x.png\ni/train0.png\ni/y.png\n")
    noted = []
    with pytest.raises(DataError, match=r"labeled\.txt:2: .* 2 of 4 lines cannot be used"):
        open_plain(root, **lists)
    partition = open_plain(root, **lists, note=lambda *fault: noted.append(fault))
    assert list(partition.labeled.ids) == ["i/train5.png", "i/train0.png"]
    ((part, _, message, count),) = noted
    assert (part, count) == ("labeled", 2)
    assert "labeled.txt:2: no image i/x.png" in message
    (tmp_path / "labeled.txt").write_text("i/train5.png\ni/train0.png\n")
    (tmp_path / "unlabeled.txt").write_text("i/train7.png\ni/train6.png\n")
    partition = open_plain(root, unlabeled=str(tmp_path / "unlabeled.txt"), **lists)
    assert list(partition.unlabeled.ids) == ["i/train7.png", "i/train6.png"]


@pytest.mark.parametrize(
    ("labeled", "unlabeled", "message"),
    [
        (
            "train0\n\nx\ny",
            "",
            r"labeled\.txt:3: no image i/x\.png; line 4: no image i/y\.png\. .*2\.0\.0 \(train: 8",
        ),
        ("train0\n\nx\ny", "", r"2 of 3 lines .* a list for another dataset\? .*data\.labeled"),
        ("train0", "train9", r"unlabeled\.txt:1: no image i/train9\.png\. .*2\.0\.0"),
        ("train0\ntrain0", "", r"data\.labeled .*i/train0\.png is listed twice"),
        ("train0", "train0", r"i/train0\.png is in data\.labeled .* and in data\.unlabeled"),
        ("test0", "", r"i/test0\.png is in data\.labeled .*and in data\.val \(test\)"),
        ("train0", "test0", r"i/test0\.png is in data\.val \(test\) and in data\.unlabeled"),
    ],
)
def test_lists_that_do_not_fit(plain, tmp_path, labeled, unlabeled, message):
    root = keyed(plain[0])
    files = {"labeled": "", "unlabeled": ""}
    for part, text in (("labeled", labeled), ("unlabeled", unlabeled)):
        if text:
            lines = [f"i/{name}.png m.png\n" if name else "\n" for name in text.split("\n")]
            (tmp_path / f"{part}.txt").write_text("".join(lines))
            files[part] = str(tmp_path / f"{part}.txt")
    with pytest.raises(DataError, match=message):
        input_pipeline.check_partition(open_plain(root, **files))


@pytest.mark.parametrize("checked", [False, True], ids=["training", "check"])
def test_a_malformed_list_names_its_bad_lines_and_is_refused(plain, tmp_path, checked):
    root = keyed(plain[0])
    lines = ["i/train0.png m.png", "", "my i/train1.png m.png", "i/train1.png", "i/x.png"]
    lines += [f"i/train2.png m.png {number}" for number in range(6, 30)]
    (tmp_path / "labeled.txt").write_text("\n".join(lines))
    noted = []
    with pytest.raises(DataError) as raised:
        open_plain(
            root,
            labeled=str(tmp_path / "labeled.txt"),
            note=(lambda *fault: noted.append(fault)) if checked else None,
        )
    message = str(raised.value)
    assert "labeled.txt:3: 3 columns, expected 1 or 2: 'my i/train1.png m.png'" in message
    assert "; line 5: no image i/x.png; line 6: 3 columns" in message
    assert "; line 23: 3 columns, expected 1 or 2: 'i/train2.png m.png 23'; and 6 more. " in message
    assert "line 24" not in message
    assert "26 of 28 lines cannot be used" in message
    assert "end a name that contains a blank with a tab" in message
    assert noted == []


def test_list_without_keys(plain, tmp_path):
    (tmp_path / "labeled.txt").write_text("a.jpg a.png\n")
    with pytest.raises(DataError, match=r"has no image names \(files keys-SPLIT\.txt\)"):
        open_plain(plain[0], labeled=str(tmp_path / "labeled.txt"))
