"""Drawn partitions, and the command line."""

import pytest

import input_pipeline
from input_pipeline import DataError
from input_pipeline.prepare import __main__ as command
from input_pipeline.prepare import splits

KEYS = [f"JPEGImages/{number:04}.jpg" for number in range(300)]


def test_draw_is_a_function_of_seed_and_keys():
    drawn = splits.draw(KEYS, 20, seed=0)
    assert len(set(drawn)) == 20
    assert drawn == sorted(drawn)
    assert drawn == splits.draw(KEYS, 20, seed=0)
    assert drawn != splits.draw(KEYS, 20, seed=1)
    # Recorded: a draw must be the same on any machine and with any version.
    assert drawn[:5] == [17, 29, 47, 55, 82]
    backwards = {KEYS[::-1][i] for i in splits.draw(KEYS[::-1], 20, seed=0)}
    assert backwards == {KEYS[i] for i in drawn}
    assert set(drawn) < set(splits.draw(KEYS, 40, seed=0))


def test_draw_favours_no_place():
    counts = [0] * 30
    for seed in range(200):
        for index in splits.draw(KEYS[:30], 6, seed):
            counts[index] += 1
    assert sum(counts) == 1200
    assert 20 < min(counts) < max(counts) < 62  # 40 expected, standard deviation 5.7.


def test_lists_of_a_prepared_dataset(prepared, tmp_path, capsys):
    flags = [f"--data={prepared / 'pascal'}", f"--output={tmp_path / 'splits/3'}"]
    assert command.main(["split", *flags, "--count=3", "--seed=0"]) == 0
    assert "3 labelled and 6 unlabelled images" in capsys.readouterr().out
    partition = input_pipeline.open_partition(
        source="tfds",
        root=str(prepared / "pascal"),
        labeled=str(tmp_path / "splits/3/labeled.txt"),
        unlabeled=str(tmp_path / "splits/3/unlabeled.txt"),
        val="",
        num_classes=21,
    )
    input_pipeline.check_partition(partition)
    counts = partition.counts()
    assert (counts["labeled"], counts["unlabeled"], counts["val"]) == (3, 6, 3)
    assert counts["labeled_fine"] + counts["labeled_coarse"] == 3
    line = (tmp_path / "splits/3/labeled.txt").read_text().split()
    assert line[1] == line[0].replace("JPEGImages", "SegmentationClass").replace("jpg", "png")


def test_fine_masks_alone(prepared, tmp_path):
    output = tmp_path / "fine"
    splits.prepare(
        str(prepared / "pascal"), str(output), splits.Choice(count=3, seed=0, kind="fine")
    )
    partition = input_pipeline.open_partition(
        source="tfds",
        root=str(prepared / "pascal"),
        labeled=str(output / "labeled.txt"),
        unlabeled="",
        val="",
        num_classes=21,
    )
    assert partition.label_kinds == {"fine": 3, "coarse": 0}
    assert len(partition.unlabeled) == 6
    with pytest.raises(DataError, match=r"--count=4: must be .* below the 4 images .* fine masks"):
        splits.prepare(
            str(prepared / "pascal"), str(output), splits.Choice(count=4, seed=0, kind="fine")
        )


def test_public_list_of_all_training_images(shared_data, tmp_path):
    source = shared_data / "splits/pascal/train_aug.txt"
    splits.prepare(str(source), str(tmp_path), splits.Choice(count=92, seed=0))
    parts = [(tmp_path / f"{x}.txt").read_text().splitlines() for x in ("labeled", "unlabeled")]
    assert [len(lines) for lines in parts] == [92, 10490]
    assert sorted(parts[0] + parts[1]) == sorted(source.read_text().splitlines())


def test_lists_are_not_overwritten(prepared, tmp_path, capsys):
    flags = [f"--data={prepared / 'pascal'}", f"--output={tmp_path}", "--count=3"]
    assert command.main(["split", *flags]) == 0
    assert command.main(["split", *flags]) == 0
    assert command.main(["split", *flags, "--seed=1"]) == 2
    assert "labeled.txt: holds another list" in capsys.readouterr().err


def test_what_cannot_be_drawn(prepared, tmp_path):
    list_file = tmp_path / "all.txt"
    list_file.write_text("a.jpg a.png\nb.jpg b.png\n")
    for count in (0, 2):
        with pytest.raises(DataError, match=rf"--count={count}: must be from 1 to below the 2"):
            splits.prepare(str(list_file), str(tmp_path), splits.Choice(count=count, seed=0))
    with pytest.raises(DataError, match=r"--kind=fine: .*all\.txt does not say"):
        splits.prepare(str(list_file), str(tmp_path), splits.Choice(count=1, seed=0, kind="fine"))
    with pytest.raises(DataError, match=r"--data = 'none\.txt': no such file or folder"):
        splits.prepare("none.txt", str(tmp_path), splits.Choice(count=1, seed=0))
    with pytest.raises(DataError, match=r"--data = .*: neither dataset_info\.json nor exactly one"):
        splits.prepare(str(prepared), str(tmp_path), splits.Choice(count=1, seed=0))


def write_list(folder):
    names = [f"images/{drive}_{n}.jpg labels/{drive}_{n}.png" for drive in "ab" for n in range(9)]
    (folder / "train.txt").write_text("\n".join(names) + "\n")
    return str(folder / "train.txt")


def names(path):
    return [line.split("/")[1].split(".")[0] for line in path.read_text().splitlines()]


def test_every_third_image_of_one_drive_is_labelled(tmp_path):
    choice = splits.Choice(2, match="*/b_*", every=3, start=2, rest="others")
    splits.prepare(write_list(tmp_path), str(tmp_path / "out"), choice)
    assert names(tmp_path / "out" / "labeled.txt") == ["b_1", "b_4"]
    assert names(tmp_path / "out" / "unlabeled.txt") == [f"a_{n}" for n in range(9)]
    choice = splits.Choice(2, match="*/b_*", every=3, start=2)
    splits.prepare(write_list(tmp_path), str(tmp_path / "all"), choice)
    assert len(names(tmp_path / "all" / "unlabeled.txt")) == 16


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"count": 4, "match": "*/b_*", "every": 3}, "gives only 3 of the 9 images"),
        ({"count": 9, "match": "*/b_*"}, "to below the 9 images of .* that match --from="),
        ({"count": 1, "match": "*/c_*"}, "below the 0 images"),
        ({"count": 1, "rest": "others"}, "--rest=others: every image"),
        ({"count": 1, "every": 3, "start": 0}, "--start=0: must be at least"),
        ({"count": 1, "start": 2}, "--start=2 has no effect without --every"),
    ],
)
def test_choices_that_leave_no_images(choice, message, tmp_path):
    with pytest.raises(DataError, match=message):
        splits.prepare(write_list(tmp_path), str(tmp_path / "out"), splits.Choice(**choice))
    assert not (tmp_path / "out").exists()
