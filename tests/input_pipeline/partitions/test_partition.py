"""Opening the three parts, and what the start-up checks find."""

import numpy as np
import pytest

import input_pipeline
from input_pipeline import DataError, check_partition


def test_folder(folder):
    partition = folder.open()
    check_partition(partition)
    assert list(partition.labeled.ids) == ["i/0.jpg", "i/1.jpg", "i/2.jpg"]
    assert (len(partition.val), len(partition.unlabeled)) == (2, 4)
    example = partition.labeled[1]
    assert example["image"].shape == (40, 50, 3)
    assert example["label"].shape == (40, 50)
    assert set(partition.unlabeled[3]) == {"image"}
    assert partition.class_names == ("0", "1", "2")


def test_one_spelling_for_one_file(folder):
    folder.write("labeled.txt", f"./i/../i/0.jpg m/0.png\n{folder.root}/i/1.jpg m/1.png\n")
    assert list(folder.open().labeled.ids) == ["i/0.jpg", "i/1.jpg"]


def test_unlabeled_masks_need_not_exist(folder):
    folder.write("unlabeled.txt", "i/5.jpg nowhere/5.png\r\ni/6.jpg nowhere/6.png\r\n")
    partition = folder.open()
    check_partition(partition)
    assert list(partition.unlabeled.ids) == ["i/5.jpg", "i/6.jpg"]


@pytest.mark.parametrize("unlabeled", ["i/*.jpg", "i", "i/", "**/[0-9].jpg", "."])
def test_glob_or_folder_leaves_out_what_is_listed(folder, unlabeled):
    if unlabeled == ".":  # Masks of listed images are not images.
        for number in range(5, 9):
            (folder.root / f"m/{number}.png").unlink()
    partition = folder.open(unlabeled=unlabeled)
    check_partition(partition)
    assert list(partition.unlabeled.ids) == [f"i/{n}.jpg" for n in range(5, 9)]


def test_glob_with_nothing_new(folder):
    with pytest.raises(DataError, match=r"data\.unlabeled = 'i/\[01\]\.jpg': all of its images"):
        folder.open(unlabeled="i/[01].jpg")


@pytest.mark.parametrize("train", ["train.txt", "i", "i/*.jpg"])
def test_images_of_train_that_are_not_listed_are_unlabeled(folder, train):
    folder.write("train.txt", "".join(f"./i/{n}.jpg m/{n}.png\n" for n in range(9)))
    partition = folder.open(unlabeled="", train=train)
    check_partition(partition)
    assert list(partition.unlabeled.ids) == [f"i/{n}.jpg" for n in range(5, 9)]
    assert len(folder.open(unlabeled=None, train=train).unlabeled) == 0
    # A list of unlabelled images takes precedence.
    folder.write("unlabeled.txt", "i/8.jpg\n")
    assert list(folder.open(train=train).unlabeled.ids) == ["i/8.jpg"]
    folder.write("train.txt", "i/0.jpg\ni/3.jpg\n")
    with pytest.raises(DataError, match=r"data\.train = 'train\.txt': all of its images are in"):
        folder.open(unlabeled="", train="train.txt")


def test_kinds_of_labels_by_the_list_of_voc(folder):
    assert folder.open().counts() == {"labeled": 3, "unlabeled": 4, "val": 2}
    (folder.root / "ImageSets/Segmentation").mkdir(parents=True)
    folder.write("ImageSets/Segmentation/train.txt", "0\n2\n17\n")
    partition = folder.open()
    assert partition.label_kinds == {"fine": 2, "coarse": 1}
    assert partition.counts()["labeled_coarse"] == 1


def test_no_unlabeled_images(folder):
    partition = folder.open(unlabeled="")
    check_partition(partition)
    assert len(partition.unlabeled) == 0


def test_steps_per_epoch(folder):
    count = input_pipeline.num_steps_per_epoch
    partition = folder.open()
    assert count(partition, labeled_batch_size=2, unlabeled_batch_size=2) == 2
    assert count(partition, labeled_batch_size=2) == 1
    assert count(partition, labeled_batch_size=8, unlabeled_batch_size=8) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": "/nowhere"}, r"data\.root = '/nowhere': there is no folder /nowhere\. Put"),
        ({"labeled": "x.txt"}, r"data\.labeled = 'x\.txt': no such file or folder"),
        ({"val": ""}, r"data\.val is empty"),
        ({"source": "zip"}, r"data\.source = 'zip': must be 'folder', 'tfds' or 'scenes'"),
        ({"num_classes": 1}, r"data\.num_classes = 1"),
        ({"unlabeled": "x.txt"}, r"data\.unlabeled = 'x\.txt'"),
        ({"unlabeled": "x/*.jpg"}, r"data\.unlabeled = 'x/\*\.jpg': no image found"),
    ],
)
def test_settings_that_cannot_be_opened(folder, changes, message):
    with pytest.raises(DataError, match=message):
        folder.open(**changes)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labeled.txt", "i/0.jpg m/0.png\ni/0.jpg m/0.png\n", r"i/0\.jpg is listed twice"),
        ("unlabeled.txt", "i/5.jpg\n./i/5.jpg\n", r"data\.unlabeled .*i/5\.jpg is listed twice"),
        ("unlabeled.txt", "i/5.jpg\ni/0.jpg\n", r"i/0\.jpg is in data\.labeled.*data\.unlabeled"),
        ("unlabeled.txt", "i/5.jpg\ni/3.jpg\n", r"i/3\.jpg is in data\.val .*data\.unlabeled"),
        ("val.txt", "i/2.jpg m/2.png\n", r"i/2\.jpg is in data\.labeled .*in data\.val"),
        ("val.txt", "i/9.jpg m/4.png\n", r"i/9\.jpg: no such file, named in data\.val"),
        ("labeled.txt", "i/0.jpg m/9.png\n", r"m/9\.png: no such file, named in data\.labeled"),
        ("unlabeled.txt", "i/9.jpg\n", r"i/9\.jpg: no such file, named in data\.unlabeled"),
    ],
)
def test_lists_that_overlap_repeat_or_miss(folder, name, text, message):
    folder.write(name, text)
    with pytest.raises(DataError, match=message):
        check_partition(folder.open())


def test_names_of_another_number(folder):
    with pytest.raises(DataError, match=r"data\.class_names has 2 names, data\.num_classes = 3"):
        check_partition(folder.open(class_names=("a", "b")))
    names = ("a", "b", "c")
    assert folder.open(class_names=names).class_names == names


def test_files_that_cannot_be_used(folder):
    folder.write("i/6.jpg", "not an image")
    with pytest.raises(DataError, match=r"i/6\.jpg: not a readable image"):
        check_partition(folder.open())
    path = folder.root / "i/4.jpg"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataError, match=r"i/4\.jpg: not a readable image"):
        check_partition(folder.open())
    folder.write("i/6.jpg", "")
    with pytest.raises(DataError, match=r"i/6\.jpg: the file is empty"):
        check_partition(folder.open())


def test_mask_of_another_size(folder):
    folder.save("m/2.png", np.zeros((50, 40)))
    partition = folder.open()
    message = r"m/2\.png: the mask is 40x50, its image .*i/2\.jpg is 50x40"
    with pytest.raises(DataError, match=message):
        check_partition(partition)
    with pytest.raises(DataError, match=message):
        partition.labeled[2]


def test_ids_are_checked_in_the_sample_and_at_every_decode(folder):
    folder.save("m/4.png", np.full((40, 50), 3))
    partition = folder.open()
    with pytest.raises(DataError, match=r"m/4\.png: id 3 with data\.num_classes = 3"):
        check_partition(partition)
    with pytest.raises(DataError, match=r"m/4\.png: id 3"):
        partition.val[1]
    check_partition(folder.open(label_map="0:0,1:1,2:2,3:0"))


def test_sample_is_split_over_both_lists(folder):
    folder.save("m/4.png", np.full((40, 50), 3))
    partition = folder.open()
    check_partition(partition, sample=2)  # The first mask of each list.
    with pytest.raises(DataError, match=r"m/4\.png: id 3"):
        check_partition(partition, sample=4)  # Both ends of each list.
    folder.save("m/2.png", np.full((40, 50), 3))
    with pytest.raises(DataError, match=r"m/2\.png: id 3"):
        check_partition(partition, sample=4)


def test_binary_masks_of_0_and_255(folder):
    for number in range(9):
        folder.save(f"m/{number}.png", np.kron([[0, 255]], np.ones((40, 25))))
    with pytest.raises(DataError, match=r"only the ids 0 and 255.*data\.label_map='0:0,255:1'"):
        check_partition(folder.open(num_classes=2))
    partition = folder.open(num_classes=2, label_map="0:0,255:1")
    check_partition(partition)
    assert np.unique(partition.labeled[0]["label"]).tolist() == [0, 1]
    for number in range(9):
        folder.save(f"m/{number}.png", np.full((40, 50), 255))
    with pytest.raises(DataError, match="have only the id 255"):
        check_partition(folder.open())


def test_scenes():
    fields = {"labeled": "0:12", "unlabeled": "100:140", "val": " 1000 : 1010 "}
    arguments = {"source": "scenes", "root": "", "num_classes": 7}
    partition = input_pipeline.open_partition(**arguments, **fields)
    check_partition(partition)
    assert partition.class_names[0] == "seabed"
    assert partition.val.ids[0] == "1000"
    assert [len(x) for x in (partition.labeled, partition.unlabeled, partition.val)] == [12, 40, 10]
    assert set(partition.unlabeled[0]) == {"image"}
    overlapping = input_pipeline.open_partition(**arguments, **{**fields, "val": "11:20"})
    with pytest.raises(DataError, match=r"11 is in data\.labeled \(0:12\) and in data\.val"):
        check_partition(overlapping)
    for text in ("", "3", "5:5", "9:3", "a:b", "-1:4"):
        with pytest.raises(DataError, match=r"data\.val = .*START:STOP"):
            input_pipeline.open_partition(**arguments, **{**fields, "val": text})
    with pytest.raises(DataError, match=r"data\.num_classes = 5: scenes have 7"):
        input_pipeline.open_partition(**{**arguments, "num_classes": 5}, **fields)


@pytest.mark.parametrize("part", ["1_16", "1_8", "1_4", "1_2"])
def test_camvid(shared_data, part):
    partition = input_pipeline.open_partition(
        source="folder",
        root=str(shared_data / "camvid"),
        labeled=f"splits/{part}/labeled.txt",
        unlabeled=f"splits/{part}/unlabeled.txt",
        val="splits/val.txt",
        num_classes=11,
    )
    check_partition(partition, sample=10)
    assert len(partition.labeled) + len(partition.unlabeled) == 367
    assert len(partition.val) == 101


def test_published_lists_are_read_and_their_missing_images_named(shared_data):
    splits = shared_data / "splits/pascal"
    partition = input_pipeline.open_partition(
        source="folder",
        root=str(shared_data),
        labeled=str(splits / "1_16/labeled.txt"),
        unlabeled=str(splits / "train_aug.txt"),
        val=str(splits / "val.txt"),
        num_classes=21,
    )
    counts = [len(x) for x in (partition.labeled, partition.unlabeled, partition.val)]
    assert counts == [662, 10582, 1449]
    assert partition.labeled.ids[0] == "JPEGImages/2007_000032.jpg"
    with pytest.raises(DataError, match=r"2007_000032\.jpg is in data\.labeled .* data\.unlabeled"):
        check_partition(partition)


@pytest.mark.parametrize(
    ("part", "labeled", "unlabeled"),
    [
        ("92", 92, 10490), ("183", 183, 10399), ("366", 366, 10216), ("732", 732, 9850),
        ("1464", 1464, 9118), ("1_16", 662, 9920), ("1_8", 1323, 9259), ("1_4", 2646, 7936),
        ("u2pl_1_16", 662, 9920), ("u2pl_1_8", 1323, 9259), ("u2pl_1_4", 2646, 7936),
    ],
)  # fmt: skip
def test_rest_of_the_published_training_list_is_unlabeled(shared_data, part, labeled, unlabeled):
    splits = shared_data / "splits/pascal"
    partition = input_pipeline.open_partition(
        source="folder",
        root=str(shared_data),
        labeled=str(splits / part / "labeled.txt"),
        unlabeled="",
        val=str(splits / "val.txt"),
        train=str(splits / "train_aug.txt"),
        num_classes=21,
    )
    assert partition.counts() == {"labeled": labeled, "unlabeled": unlabeled, "val": 1449}
