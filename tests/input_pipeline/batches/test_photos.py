"""Images to predict: turned upright as EXIF says, in batches of one size, bad ones reported."""

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from input_pipeline.batches.padded_shapes import Shapes
from input_pipeline.batches.photos import (
    MAX_BATCH_PIXELS,
    Photo,
    find_photos,
    open_photos,
    photo_batches,
)
from input_pipeline.errors import DataError
from input_pipeline.sources import images
from input_pipeline.sources.orientation import EXIF_ORIENTATION, as_stored


def save(path, height, width, orientation=None):
    rng = np.random.default_rng([height, width])
    pixels = np.kron(rng.integers(0, 256, (height // 8, width // 8, 3)), np.ones((8, 8, 1)))
    exif = PIL.Image.Exif()
    if orientation:
        exif[EXIF_ORIENTATION] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(path, exif=exif)
    return str(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_images_are_read_as_a_viewer_shows_them(tmp_path, suffix, orientation):
    path = save(tmp_path / f"x.{suffix}", 16, 32, orientation)
    photo = Photo.open(path)
    upright = photo.read()
    with PIL.Image.open(path) as image:
        expected = np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    assert upright.shape == expected.shape
    assert np.abs(upright - expected).mean() < 2
    # `as_stored` restores the orientation that training and masks use.
    stored = as_stored(upright, photo.orientation)
    np.testing.assert_array_equal(stored, images.read_image(path))


def test_a_file_a_folder_and_a_glob_name_the_same_image_alike(tmp_path):
    one = save(tmp_path / "in" / "a" / "one.png", 8, 8)
    two = save(tmp_path / "in" / "two[1].jpg", 8, 8)
    save(tmp_path / "in" / "out" / "old.png", 8, 8)
    folder = str(tmp_path / "in")
    leave_out = str(tmp_path / "in" / "out")
    expected = {"a/one": one, "two[1]": two}
    assert find_photos(folder, field="--input", leave_out=leave_out) == (folder, expected)
    assert find_photos(two, field="--input") == (folder, {"two[1]": two})
    assert find_photos(f"{folder}/*/on*.png", field="--input") == (folder, {"a/one": one})


def test_nothing_and_two_of_one_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="--input=.*none: no such file or folder"):
        find_photos(str(tmp_path / "none"), field="--input")
    save(tmp_path / "a.png", 8, 8)
    save(tmp_path / "a.jpg", 8, 8)
    with pytest.raises(DataError, match=r"a.jpg and .*a.png differ only in the suffix"):
        find_photos(str(tmp_path), field="--input")


def test_batches_have_one_size_and_leave_bad_images_out(tmp_path):
    for number in range(5):
        save(tmp_path / f"{number}.png", 16, 24)
    save(tmp_path / "turned.jpg", 24, 16, orientation=6)  # Upright 16 x 24, like the others.
    save(tmp_path / "other.png", 8, 8)
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:60])
    (tmp_path / "text.png").write_text("no image")
    reported = {}
    start, found = find_photos(str(tmp_path), field="--input")
    photos = open_photos(found, num_threads=2, on_fault=reported.__setitem__)
    assert list(reported) == [f"{start}/text.png"]
    batches = list(
        photo_batches(photos, batch_size=4, num_threads=2, on_fault=reported.__setitem__)
    )
    assert list(reported) == [f"{start}/text.png", f"{start}/2.png"]
    assert [batch.images.shape for batch in batches] == [
        (1, 8, 8, 3),
        (4, 16, 24, 3),
        (4, 16, 24, 3),
    ]
    names = [[photo.name for photo in batch.photos] for batch in batches]
    assert names == [["other"], ["0", "1", "3"], ["4", "turned"]]
    for batch in batches:
        for photo, image in zip(batch.photos, batch.images, strict=False):
            np.testing.assert_array_equal(image, photo.read())
        assert not batch.images[len(batch.photos) :].any()


def test_batches_are_padded_to_shapes(tmp_path):
    for number, size in enumerate([(16, 24), (8, 16), (24, 16), (16, 16)]):
        save(tmp_path / f"{number}.png", *size)
    found, reported = find_photos(str(tmp_path), field="--input")[1], {}
    photos = open_photos(found, num_threads=1, on_fault=reported.__setitem__)
    batches = list(
        photo_batches(
            photos,
            batch_size=4,
            num_threads=2,
            on_fault=reported.__setitem__,
            shapes=Shapes(((16, 24), (24, 16))),
        )
    )
    assert not reported
    names = [[photo.name for photo in batch.photos] for batch in batches]
    assert names == [["1", "3", "0"], ["2"]]
    assert [batch.images.shape for batch in batches] == [(3, 16, 24, 3), (1, 24, 16, 3)]
    assert batches[0].sizes.tolist() == [[8, 16], [16, 16], [16, 24]]
    for batch in batches:
        for photo, image, (height, width) in zip(
            batch.photos, batch.images, batch.sizes, strict=True
        ):
            np.testing.assert_array_equal(image[:height, :width], photo.read())
            assert not image[height:].any()
            assert not image[:, width:].any()


def test_large_images_go_one_by_one(tmp_path):
    width = MAX_BATCH_PIXELS // 8
    PIL.Image.new("RGB", (width, 16)).save(tmp_path / "a.png")
    PIL.Image.new("RGB", (width, 16)).save(tmp_path / "b.png")
    _, found = find_photos(str(tmp_path), field="--input")
    photos = open_photos(found, num_threads=1, on_fault=pytest.fail)
    batches = photo_batches(photos, batch_size=8, num_threads=1, on_fault=pytest.fail)
    assert [len(batch.images) for batch in batches] == [1, 1]
