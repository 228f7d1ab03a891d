"""Pseudo masks: names, the reliable half, damaged and missing files, mixing with labels."""

import pickle

import numpy as np
import PIL.Image
import pytest

import input_pipeline
from input_pipeline.errors import DataError
from input_pipeline.partitions import pseudo_masks

# The unlabelled images of the fixture `folder`, the most reliable first.
RANKED = ["i/7.jpg", "i/5.jpg", "i/8.jpg", "i/6.jpg"]


@pytest.fixture
def masks(folder):
    """A folder with a mask of each unlabelled image, filled with the number of the image % 3."""
    made = folder.root / "masks"
    (made / "labels" / "i").mkdir(parents=True)
    for number in range(5, 9):
        folder.save(f"masks/labels/i/{number}.png", np.full((40, 50), number % 3), "L")
    rows = "".join(f"{image},{1 - rank / 4}\n" for rank, image in enumerate(RANKED))
    folder.write("masks/ranking.csv", "image,stability\n" + rows)
    return made


def opened(folder, masks, part="all"):
    return folder.open().with_pseudo(str(masks), part)


def test_names():
    name = pseudo_masks.mask_name
    assert name("images/a.b/c.JPG") == "images/a.b/c.png"
    assert name("2007.000032") == "2007.000032.png"
    assert name("/data/../x.png") == "data/x.png"


def test_images_that_would_share_a_mask_are_named(folder, masks):
    folder.save("i/5.png", np.zeros((40, 50, 3)))
    folder.write("unlabeled.txt", "i/5.jpg\ni/5.png\n")
    with pytest.raises(DataError, match=r"i/5\.jpg and i/5\.png would have one pseudo mask"):
        opened(folder, masks)


def test_the_first_half_of_an_odd_number_is_the_smaller_one():
    assert pseudo_masks.half("abcde", "reliable") == ["a", "b"]
    assert pseudo_masks.half("abcde", "unreliable") == ["c", "d", "e"]


def test_the_reliable_half_is_that_of_the_ranking(folder, masks):
    source = opened(folder, masks, "reliable").pseudo
    assert list(source.ids) == RANKED[:2]
    for index, number in enumerate((7, 5)):
        element = pickle.loads(pickle.dumps(source))[index]
        assert np.unique(element["label"]).tolist() == [number % 3]
        shown = np.asarray(PIL.Image.open(folder.root / f"i/{number}.jpg"))
        np.testing.assert_array_equal(element["image"], shown)
    assert source.image_size(0) == (40, 50)
    rest = pseudo_masks.places_of(folder.open().unlabeled, masks, "unreliable")
    assert [folder.open().unlabeled.ids[int(place)] for place in rest] == RANKED[2:]


def test_half_of_the_rows_are_labelled(folder, masks):
    partition = opened(folder, masks)
    assert partition.counts() == {"labeled": 3, "unlabeled": 4, "val": 2, "pseudo": 4}
    both = partition.stream("labeled")
    # The labelled list is repeated to at least the length of the other.
    assert list(both.ids) == ["i/0.jpg", "i/1.jpg", "i/2.jpg"] * 2 + list(partition.pseudo.ids)
    assert [both[index]["pseudo"] for index in range(len(both))] == [False] * 6 + [True] * 4
    np.testing.assert_array_equal(both[4]["label"], partition.labeled[1]["label"])
    np.testing.assert_array_equal(both[7]["label"], partition.pseudo[1]["label"])
    assert input_pipeline.num_steps_per_epoch(partition, labeled_batch_size=3) == 10 // 3


def test_batches_have_the_rows_of_both(folder, masks):
    partition = opened(folder, masks)
    stream = input_pipeline.train_stream(
        partition,
        seed=0,
        crop_size=32,
        labeled_batch_size=10,
        unlabeled_batch_size=1,
        strong_views=0,
        num_steps=1,
        num_threads=1,
    )
    with stream:
        batch = next(stream)["labeled"]
    assert set(batch) == {"image", "label"}
    # A pseudo mask of the fixture has one class, a mask three.
    classes = [len(np.unique(label[label != 255])) for label in batch["label"]]
    assert sorted(classes) == [1] * 4 + [3] * 6


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:45]), "not a readable mask"),
        (lambda path: PIL.Image.new("L", (50, 40), 3).save(path), "id 3 with data.num_classes = 3"),
        (lambda path: PIL.Image.new("L", (40, 50)).save(path), "the mask is 40x50"),
    ],
)
def test_a_damaged_mask_is_named_before_the_training(folder, masks, spoil, said):
    path = masks / "labels" / "i" / "6.png"
    spoil(path)
    with pytest.raises(DataError, match=said) as found:
        input_pipeline.check_partition(opened(folder, masks))
    assert str(path) in str(found.value)
    assert "delete the file, and the command that made it" in str(found.value)


def test_what_an_earlier_stage_has_not_made_is_named(folder, masks):
    with pytest.raises(DataError, match=r"there is no such folder\. An earlier stage makes it"):
        opened(folder, folder.root / "absent")
    (masks / "labels" / "i" / "5.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images have no mask, such as i/5\.jpg"):
        opened(folder, masks, "reliable")
    (masks / "ranking.csv").unlink()
    with pytest.raises(DataError, match=r"has no ranking\.csv"):
        opened(folder, masks, "reliable")


def test_a_ranking_of_other_images_is_refused(folder, masks):
    folder.write("unlabeled.txt", "i/5.jpg\ni/6.jpg\n")
    with pytest.raises(DataError, match="ranks 4 images, which are not the 2 of"):
        opened(folder, masks, "reliable")
    folder.write("masks/ranking.csv", "picture,stability\ni/5.jpg,1\n")
    with pytest.raises(DataError, match="not a ranking of images"):
        opened(folder, masks, "reliable")


def test_half_of_one_image_is_none(folder, masks):
    folder.write("unlabeled.txt", "i/5.jpg\n")
    folder.write("masks/ranking.csv", "image,stability\ni/5.jpg,1\n")
    with pytest.raises(DataError, match="no reliable image among 1 unlabelled ones"):
        opened(folder, masks, "reliable")
