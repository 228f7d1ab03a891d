"""Files that cannot be used are named, or replaced in the same way by every reader."""

import io
import os
import zlib

import numpy as np
import PIL.Image
import pytest

import input_pipeline
from input_pipeline import DataError, train_stream
from input_pipeline.batches.skipping import REPLACED, SkippingSource
from input_pipeline.sources.folder import FolderSource

SETTINGS = {
    "seed": 3,
    "crop_size": 32,
    "labeled_batch_size": 2,
    "unlabeled_batch_size": 4,
    "num_steps": 4,
}


def encode(pixels, file_format, mode=None, **options) -> bytes:
    image = PIL.Image.fromarray(np.asarray(pixels))
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, file_format, **options)
    return buffer.getvalue()


def noise(height=40, width=50) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3)).astype(np.uint8)


def bomb(file_format) -> bytes:
    """An image of 20,000 x 20,000 pixels in few bytes; only the header is right."""
    small = encode(np.zeros((8, 8), np.uint8), file_format)
    if file_format == "PNG":
        header = small[:16] + (20_000).to_bytes(4, "big") * 2 + small[24:29]
        return header + np.array([zlib.crc32(header[12:])], ">u4").tobytes() + small[33:]
    start = small.index(b"\xff\xc0") + 5  # The place of height and width in the frame header.
    return small[:start] + (20_000).to_bytes(2, "big") * 2 + small[start + 4 :]


def rotated_exif() -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return exif


JPEG = encode(noise(), "JPEG")
FAULTY_IMAGES = {
    "truncated": (JPEG[: len(JPEG) // 2], "not a readable image"),
    "empty": (b"", r"the file is empty \(0 bytes\)"),
    "text": (b"<html>404</html>", "not a readable image"),
    "png_bomb": (bomb("PNG"), "20000x20000 pixels, more than the limit of 100000000"),
    "jpeg_bomb": (bomb("JPEG"), "20000x20000 pixels, more than the limit of 100000000"),
    "float": (encode(np.zeros((40, 50), np.float32), "TIFF"), "image mode 'F'"),
}
GOOD_IMAGES = {
    "wrong_suffix": encode(noise(), "PNG"),
    "cmyk": encode(noise(), "JPEG", "CMYK"),
    "16_bit": encode(noise()[..., 0].astype(np.uint16) * 257, "PNG"),
    "exif": encode(noise(), "JPEG", exif=rotated_exif()),
    "one_pixel": encode(noise(1, 1), "PNG"),
    "rgba": encode(noise(), "PNG", "RGBA"),
}
FAULTY_MASKS = {
    "rgba": (encode(np.zeros((40, 50), np.uint8), "PNG", "RGBA"), r"RGBA.*data\.colormap"),
    "16_bit": (encode(np.zeros((40, 50), np.uint16), "PNG"), "the mask has mode 'I;16'"),
    "size": (encode(np.zeros((50, 40), np.uint8), "PNG"), "the mask is 40x50, its image"),
    "bomb": (bomb("PNG"), "20000x20000 pixels"),
    "id": (encode(np.full((40, 50), 9, np.uint8), "PNG"), "id 9 with data.num_classes = 3"),
    "empty": (b"", "empty"),
}


@pytest.mark.parametrize("fault", FAULTY_IMAGES)
def test_an_image_that_cannot_be_used_is_named(folder, fault):
    data, message = FAULTY_IMAGES[fault]
    (folder.root / "i/6.jpg").write_bytes(data)
    with pytest.raises(DataError, match=rf"^/.*i/6\.jpg: .*{message}"):
        folder.open().unlabeled[1]


@pytest.mark.parametrize("fault", FAULTY_MASKS)
def test_a_mask_that_cannot_be_used_is_named(folder, fault):
    data, message = FAULTY_MASKS[fault]
    (folder.root / "m/1.png").write_bytes(data)
    with pytest.raises(DataError, match=rf"^/.*m/1\.png: .*{message}"):
        folder.open().labeled[1]


@pytest.mark.parametrize("kind", GOOD_IMAGES)
def test_unusual_images_train(folder, kind):
    for number in range(5, 9):
        (folder.root / f"i/{number}.jpg").write_bytes(GOOD_IMAGES[kind])
    partition = folder.open()
    input_pipeline.check_partition(partition)
    batch = next(train_stream(partition, **SETTINGS))
    assert batch["unlabeled"]["weak"].any()
    assert batch["unlabeled"]["valid"].any()


@pytest.mark.slow
def test_a_pass_over_ten_thousand_images_replaces_each_bad_one_by_the_next_good_one(tmp_path):
    good = [encode(np.full((2, 2, 3), value, np.uint8), "PNG") for value in range(10)]
    for value, data in enumerate(good):
        (tmp_path / f"{value}.png").write_bytes(data)
    names = [f"d/{number}.jpg" for number in range(10_000)]
    (tmp_path / "d").mkdir()
    for number, name in enumerate(names):
        os.link(tmp_path / f"{number % 10}.png", tmp_path / name)
    bad = {17, 18, 19, 4000, 9999}
    for number in bad:
        (tmp_path / names[number]).unlink()
        (tmp_path / names[number]).write_bytes(good[0][: 20 + number % 7])
    inner = FolderSource(str(tmp_path), names, name="data.unlabeled")
    source = SkippingSource(inner, max_bad=3)
    values = [int(source[index]["image"][0, 0, 0]) for index in range(len(source))]
    expected = {17: 0, 18: 0, 19: 0, 4000: 1, 9999: 0}
    assert values == [expected.get(index, index % 10) for index in range(10_000)]
    for index in (*bad, 16, 20, 0):
        assert source[index][REPLACED] == (index if index in bad else -1)
    with pytest.raises(DataError, match=r"17\.jpg: not.* than data\.max_bad = 2 allows"):
        SkippingSource(inner, max_bad=2)[17]


def spoil(folder) -> None:
    folder.write("i/6.jpg", "no image")
    (folder.root / "i/1.jpg").write_bytes(JPEG[:900])


def read(folder, **changes) -> list:
    """Batches, each with the entries that were replaced in it."""
    stream = train_stream(folder.open(), **{**SETTINGS, "max_bad": 5, **changes})
    return [(batch, stream.replaced) for batch in stream]


def assert_equal(found: list, expected: list) -> None:
    assert [replaced for _, replaced in found] == [replaced for _, replaced in expected]
    for (batch, _), (other, _) in zip(found, expected, strict=True):
        assert {part: set(rows) for part, rows in batch.items()} == {
            part: set(rows) for part, rows in other.items()
        }
        for part, arrays in batch.items():
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, other[part][name])


@pytest.mark.slow
def test_skipping_is_the_same_for_threads_workers_and_resumed_runs(folder):
    untouched = read(folder)
    assert not any(replaced for _, replaced in untouched)
    assert_equal(read(folder, max_bad=None), untouched)
    spoil(folder)
    expected = read(folder)
    found = {entry for _, replaced in expected for entry in replaced}
    assert found == {("labeled", 1), ("unlabeled", 1)}
    assert_equal(read(folder, num_threads=1), expected)
    assert_equal(read(folder, num_workers=2, num_threads=1), expected)
    assert_equal(read(folder, start_step=2), expected[2:])
    # Rows of usable images are unchanged.
    for (batch, replaced), (other, _) in zip(expected, untouched, strict=True):
        same = (batch["labeled"]["label"] == other["labeled"]["label"]).all((1, 2))
        assert (~same).sum() <= sum(part == "labeled" for part, _ in replaced)


def test_the_check_before_the_first_step_counts_too(folder):
    spoil(folder)
    partition = folder.open()
    with pytest.raises(DataError, match=r"i/1\.jpg: not a readable image"):
        input_pipeline.check_partition(partition)
    input_pipeline.check_partition(partition, max_bad=2)
    message = r"i/6\.jpg: .* That makes 2 unusable files .* data\.max_bad = 1 allows"
    with pytest.raises(DataError, match=message):
        input_pipeline.check_partition(partition, max_bad=1)
    # Scores over fewer images would not be comparable; a wrong path is not a corrupt file.
    folder.write("i/4.jpg", "no image")
    with pytest.raises(DataError, match=r"i/4\.jpg: not a readable image"):
        input_pipeline.check_partition(partition, max_bad=9)
    (folder.root / "i/0.jpg").unlink()
    with pytest.raises(DataError, match=r"i/0\.jpg: no such file"):
        input_pipeline.check_partition(partition, max_bad=9)
