"""Folders of images and masks, shares for validation, and several sources of unlabelled images."""

import re
import shutil

import numpy as np
import pytest

from input_pipeline import DataError, check_partition
from input_pipeline.partitions import lists
from input_pipeline.partitions import partition as partitions


@pytest.fixture
def pairs(folder):
    """Nine images in images/ and masks of the first six in masks/, without lists."""
    (folder.root / "i").rename(folder.root / "images")
    (folder.root / "m").rename(folder.root / "masks")
    for number in range(6, 9):
        (folder.root / f"masks/{number}.png").unlink()
    return folder


def open_folders(pairs, **changes):
    arguments = {"labeled": "masks", "unlabeled": "images", "val": "0.34", **changes}
    return pairs.open(**arguments)


def names(source):
    return [path.split("/")[-1].split(".")[0] for path in source.ids]


def test_images_with_a_mask_are_labeled_and_the_rest_is_not(pairs):
    partition = open_folders(pairs)
    check_partition(partition)
    assert partition.counts() == {"labeled": 4, "unlabeled": 3, "val": 2}
    assert sorted(names(partition.labeled) + names(partition.val)) == list("012345")
    assert list(partition.unlabeled.ids) == [f"images/{n}.jpg" for n in (6, 7, 8)]
    for source in (partition.labeled, partition.val):
        images, masks = list(source.ids), list(source.label_ids)
        expected = [x.replace("images", "masks").replace("jpg", "png") for x in images]
        assert masks == expected
    assert not partition.by_lists


def test_share_is_the_same_whatever_the_root_and_the_order(pairs, tmp_path):
    first = open_folders(pairs).val
    listed = "".join(f"images/{n}.jpg masks/{n}.png\n" for n in (5, 3, 1, 0, 2, 4))
    pairs.write("all.txt", listed)
    assert sorted(open_folders(pairs, labeled="all.txt").val.ids) == list(first.ids)
    shutil.copytree(pairs.root, tmp_path / "elsewhere")
    assert list(open_folders(pairs, root=str(tmp_path / "elsewhere")).val.ids) == list(first.ids)
    # Any share has at least one image and leaves at least one.
    for share, count in (("0.01", 1), ("0.5", 3), (".99", 5)):
        partition = open_folders(pairs, val=share)
        assert (len(partition.val), len(partition.labeled)) == (count, 6 - count)
    # The images of a smaller share are among those of a larger one.
    assert set(first.ids) < set(open_folders(pairs, val="0.5").val.ids)


def test_subfolders_suffixes_and_folders_of_other_names(pairs):
    for number, place in enumerate(["images/a/x.jpg", "images/b/x.jpg"]):
        (pairs.root / place).parent.mkdir()
        (pairs.root / f"images/{number}.jpg").rename(pairs.root / place)
        mask = place.replace("images", "masks").replace("jpg", "png")
        (pairs.root / mask).parent.mkdir()
        (pairs.root / f"masks/{number}.png").rename(pairs.root / mask)
    (pairs.root / "images").rename(pairs.root / "photos")
    with pytest.raises(
        DataError, match=r"'masks' is a folder of masks, but .*/images\. Put the images"
    ):
        open_folders(pairs)
    partition = open_folders(pairs, train="photos", unlabeled="")
    check_partition(partition)
    assert partition.counts() == {"labeled": 4, "unlabeled": 3, "val": 2}
    both = [*partition.labeled.ids, *partition.val.ids]
    assert {"photos/a/x.jpg", "photos/b/x.jpg"} <= set(both)


def test_validation_has_folders_of_its_own(pairs):
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        (pairs.root / "val" / kind).mkdir(parents=True)
        (pairs.root / f"{kind}/0.{suffix}").rename(pairs.root / f"val/{kind}/0.{suffix}")
    partition = open_folders(pairs, val="val/masks")
    check_partition(partition)
    assert list(partition.val.ids) == ["val/images/0.jpg"]
    assert partition.counts() == {"labeled": 5, "unlabeled": 3, "val": 1}


def test_several_places_of_unlabeled_images(pairs):
    (pairs.root / "more, later").mkdir()
    (pairs.root / "images/8.jpg").rename(pairs.root / "more, later/9.jpg")
    partition = open_folders(pairs, unlabeled="images/*.jpg, more*/*.jpg")
    check_partition(partition)
    assert names(partition.unlabeled) == ["6", "7", "9"]
    # A file name may contain a comma.
    assert names(open_folders(pairs, unlabeled="more, later").unlabeled) == ["9"]
    with pytest.raises(DataError, match=r"all of its images are in .*method\.name=supervised"):
        open_folders(pairs, unlabeled="images/[01].jpg,images/2.jpg*")
    assert len(open_folders(pairs, unlabeled=None).unlabeled) == 0


def test_names_that_do_not_tell_which_belong_together(pairs):
    pairs.save("masks/0_mask.png", [[0]])
    message = r"masks/0_mask\.png: no image of that name in .*images, and 1 of 7 masks have none"
    with pytest.raises(DataError, match=message):
        open_folders(pairs)
    (pairs.root / "masks/0_mask.png").unlink()
    pairs.save("images/8.png", [[0]])  # An image without a mask is unlabelled.
    assert len(open_folders(pairs).unlabeled) == 4
    pairs.save("images/0.png", [[0]])
    with pytest.raises(DataError, match=r"images/0\.jpg and .*images/0\.png have the same name"):
        open_folders(pairs)


def test_shares_that_leave_nothing(pairs):
    pairs.write("one.txt", "images/0.jpg masks/0.png\n")
    message = r"'0\.2': data\.labeled .*one.txt\) has too few labelled images \(1\)"
    with pytest.raises(DataError, match=message):
        open_folders(pairs, labeled="one.txt", val="0.2")
    with pytest.raises(DataError, match=r"share of data\.labeled, which cannot be used"):
        open_folders(pairs, labeled=None)
    for text in ("0.0", "1.5", "20%"):
        with pytest.raises(DataError, match=f"'{text}': a share .* such as 0.2"):
            open_folders(pairs, val=text)


def test_a_mask_of_another_size_has_a_way_out(pairs):
    for number in range(6):
        pairs.save(f"masks/{number}.png", [[0, 1], [1, 2]])
    partition = open_folders(pairs, val="0.5")
    names = {"the training share of data.labeled": partition.labeled, "data.val": partition.val}
    for name, source in names.items():
        with pytest.raises(DataError, match=rf"2x2, its .* 50x40 .*, in {name} \(") as caught:
            source[0]
        assert "Resize the mask to 50x40 with nearest-neighbour" in str(caught.value)
        assert "data.on_error=skip" in str(caught.value)
        assert not re.search(r"\([^)]*\(", str(caught.value))
    # What the message says about data.on_error=skip is true: validation stays an error.
    with pytest.raises(DataError, match="2x2"):
        check_partition(partition, max_bad=9)
    for path in partition.val.label_ids:
        pairs.save(path, np.zeros((40, 50)))
    with pytest.raises(DataError, match="2x2"):
        check_partition(partition)
    check_partition(partition, max_bad=9)


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"labeled": "mask"}, "masks"),
        ({"labeled": "Masks"}, "masks"),
        ({"unlabeled": "image"}, "images"),
        ({"labeled": "lists/pair.txt"}, "lists/pairs.txt"),
        ({"labeled": "list/pairs.txt"}, "lists/pairs.txt"),
        ({"unlabeled": "image/*.jpg"}, "images/*.jpg"),
        ({"unlabeled": "images/*.bmp"}, None),
        ({"labeled": "something_else"}, None),
    ],
)
def test_a_name_that_is_nearly_right_is_asked_back(pairs, fields, meant):
    (pairs.root / "lists").mkdir()
    pairs.write("lists/pairs.txt", "images/0.jpg masks/0.png\n")
    with pytest.raises(DataError) as caught:
        open_folders(pairs, **fields)
    assert ("Did you mean" in str(caught.value)) is bool(meant)
    if meant:
        assert str(caught.value).endswith(f" Did you mean '{meant}'?")


def test_the_root_and_the_folder_of_the_images(pairs):
    root = str(pairs.root)
    with pytest.raises(DataError, match=f"there is no folder {root}s. .*Did you mean '{root}'"):
        partitions.open_partition(
            source="folder", root=f"{root}s", labeled="a", unlabeled="b", val="c", num_classes=3
        )
    with pytest.raises(DataError, match="'images' is the folder of the images themselves"):
        open_folders(pairs, labeled="images")


def test_lists_that_are_written_are_read_as_they_were(tmp_path):
    images = ["a b.jpg", "/else where/c,d.jpg", "ü.jpg"]
    masks = [f"{path} mask.png" for path in images]
    lists.write_list(tmp_path / "pairs.txt", images, masks)
    assert lists.read_pairs(str(tmp_path / "pairs.txt"), field="f") == (images, masks)
    lists.write_list(tmp_path / "images.txt", images)
    assert list(lists.read_images(str(tmp_path / "images.txt"), field="f")) == images
    for name in ("a\tb.jpg", "a\nb.jpg", " a.jpg", "a\rb.jpg", "\udcfc.jpg"):
        with pytest.raises(DataError, match="Rename the file"):
            lists.write_list(tmp_path / "bad.txt", [name])
