"""The list of files that a run could not use."""

import json

import pytest

from input_pipeline import DataError, Partition
from input_pipeline.sources.folder import FolderSource
from rcc_jax.workdir.bad_files import BadFiles


@pytest.fixture
def partition(tmp_path):
    names = [f"{number}.jpg" for number in range(4)]
    for name in names:
        (tmp_path / name).write_text("no image")
    source = FolderSource(str(tmp_path), names, name="data.unlabeled")
    return Partition(source, source, source, num_classes=3, class_names=("a", "b", "c"))


def test_each_file_once_and_the_same_after_an_interruption(tmp_path, partition):
    def note(start, batches, max_bad=3):
        files = BadFiles(tmp_path, partition, start_step=start, max_bad=max_bad)
        try:
            for step, replaced in batches:
                files.note(step, replaced)
                yield files.write()
        finally:
            files.close()

    batches = [
        (1, [("unlabeled", 2), ("unlabeled", 2)]),
        (2, [("labeled", 2), ("unlabeled", 2)]),
        (3, [("unlabeled", 0)]),
    ]
    lines = list(note(0, batches))
    assert [len(found) for found in lines] == [1, 1, 1]
    assert f"{tmp_path}/2.jpg: not a readable image" in lines[0][0]
    assert "1 so far, data.max_bad = 3" in lines[0][0]
    content = (tmp_path / "bad_files.jsonl").read_text()
    entries = [json.loads(line) for line in content.splitlines()]
    assert [(e["step"], e["part"], e["image"]) for e in entries] == [
        (1, "unlabeled", "2.jpg"),
        (2, "labeled", "2.jpg"),
        (3, "unlabeled", "0.jpg"),
    ]
    # Resume from step 1, with the line of step 3 torn.
    (tmp_path / "bad_files.jsonl").write_text(content[:-9])
    assert [len(found) for found in note(1, batches[1:])] == [1, 1]
    assert (tmp_path / "bad_files.jsonl").read_text() == content
    with pytest.raises(
        DataError, match=r"1\.jpg: not.*That makes 4 unusable files, more than data\.max_bad = 3"
    ):
        list(note(3, [(4, [("unlabeled", 1)])]))
    assert len((tmp_path / "bad_files.jsonl").read_text().splitlines()) == 4
