"""Masks of every kind, and the errors that name the file and the value."""

import numpy as np
import PIL.Image
import pytest

from input_pipeline.errors import DataError
from input_pipeline.sources.labels import LabelReader

MASK = np.array([[0, 1, 2, 255], [2, 1, 0, 0]], np.uint8)


def save(path, pixels, **options) -> str:
    PIL.Image.fromarray(np.asarray(pixels)).save(path, **options)
    return str(path)


def save_palette(path, pixels) -> str:
    image = PIL.Image.fromarray(np.asarray(pixels, np.uint8)).convert("L")
    image = image.convert("P")
    image.putdata(np.asarray(pixels).ravel().tolist())
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    image.save(path)
    return str(path)


def test_grey_and_palette_are_read_as_indices(tmp_path):
    for path in (save(tmp_path / "l.png", MASK), save_palette(tmp_path / "p.png", MASK)):
        label = LabelReader(3).read(path)
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, MASK)


@pytest.mark.parametrize(("bits", "factor"), [(2, 85), (4, 17)])
def test_packed_grey_is_read_as_indices(tmp_path, bits, factor):
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4) % 2**bits
    path = save(tmp_path / "x.png", mask * factor, bits=bits)
    with PIL.Image.open(path) as image:
        assert np.asarray(image).max() == 255  # The trap: Pillow spreads the values.
    np.testing.assert_array_equal(LabelReader(16).read(path), mask)


def test_one_bit_masks(tmp_path):
    mask = MASK[:, :2] == 1
    path = save(tmp_path / "x.png", mask)
    np.testing.assert_array_equal(LabelReader(2).read(path), mask.astype(np.uint8))


def test_id_that_is_not_below_num_classes(tmp_path):
    with pytest.raises(DataError, match=r"x\.png: id 2 with data\.num_classes = 2 .*0, 1, 2, 255"):
        LabelReader(2).read(save(tmp_path / "x.png", MASK))
    mask = np.zeros((4, 4), np.uint8)
    mask[3, 3] = 254
    with pytest.raises(DataError, match=r"id 254 .*data\.label_map"):
        LabelReader(3).read(save(tmp_path / "x.png", mask))
    assert LabelReader(255).read(save(tmp_path / "y.png", mask)).max() == 254


def test_binary_mask_gets_the_exact_map_proposed(tmp_path):
    path = save(tmp_path / "x.png", np.array([[0, 128]], np.uint8))
    with pytest.raises(DataError, match=r"'0:0,128:1'"):
        LabelReader(2).read(path)
    np.testing.assert_array_equal(LabelReader(2, "0:0,128:1").read(path), [[0, 1]])


def test_label_map(tmp_path):
    path = save(tmp_path / "x.png", np.array([[7, 8, 11, 255, 0]], np.uint8))
    reader = LabelReader(3, "7:0, 8:1 ,11:2,*:255")
    np.testing.assert_array_equal(reader.read(path), [[0, 1, 2, 255, 255]])
    np.testing.assert_array_equal(LabelReader(3, "7:2,*:0").read(path), [[2, 0, 0, 255, 0]])
    np.testing.assert_array_equal(LabelReader(3, "255:1,*:0").read(path), [[0, 0, 0, 1, 0]])
    with pytest.raises(DataError, match=r"x\.png: value 8 is not in data\.label_map .*0, 7, 8, 11"):
        LabelReader(3, "0:0,7:0,11:2").read(path)


@pytest.mark.parametrize(
    "text", ["1", "1:3", "1:-1", "a:1", "256:1", "1:1,", ":1", "1:x", "1:1;2:2", "#ff0000:1"]
)
def test_bad_label_map(text):
    with pytest.raises(DataError, match=r"data\.label_map: item .* in 0-2 or 255"):
        LabelReader(3, text)


def test_twice_listed_value_and_two_maps():
    with pytest.raises(DataError, match="'1' is listed twice"):
        LabelReader(3, "1:1,1:2")
    with pytest.raises(DataError, match=r"data\.label_map and data\.colormap are both set"):
        LabelReader(3, "1:1", "#000000:0")


@pytest.mark.parametrize("num_classes", [0, 1, 256])
def test_number_of_classes(num_classes):
    with pytest.raises(DataError, match=r"data\.num_classes = \d+: must be from 2 to 255"):
        LabelReader(num_classes)


def test_colormap(tmp_path):
    colors = np.array([[[255, 0, 0], [0, 0, 0], [0, 0, 255], [224, 224, 192]]], np.uint8)
    reader = LabelReader(3, colormap="#FF0000:1,#000000:0,#0000ff:2,#e0e0c0:255")
    image = PIL.Image.fromarray(colors)
    for stored in (image, image.convert("RGBA"), image.quantize(4)):
        path = tmp_path / f"{stored.mode}.png"
        stored.save(path)
        np.testing.assert_array_equal(reader.read(str(path)), [[1, 0, 2, 255]])
    rest = LabelReader(3, colormap="#0000ff:2,*:0")
    np.testing.assert_array_equal(rest.read(str(path)), [[0, 0, 2, 0]])
    with pytest.raises(DataError, match=r"P\.png: colour #e0e0c0 is not in data\.colormap"):
        LabelReader(3, colormap="#ff0000:1,#000000:0,#0000ff:2").read(str(path))


@pytest.mark.parametrize("text", ["red:1", "#ff00:1", "#gg0000:1", "ff0000:1", "#ff0000:7"])
def test_bad_colormap(text):
    with pytest.raises(DataError, match=r"data\.colormap: item .* is not #rrggbb:ID"):
        LabelReader(3, colormap=text)
    with pytest.raises(DataError, match="no colour is listed"):
        LabelReader(3, colormap="*:0")


def test_formats_that_hold_no_ids(tmp_path):
    reader = LabelReader(3)
    path = save(tmp_path / "rgb.png", np.full((2, 2, 3), (255, 0, 16), np.uint8))
    with pytest.raises(DataError, match=r"rgb\.png: the mask is RGB.*#ff0010.*data\.colormap"):
        reader.read(path)
    path = save(tmp_path / "deep.png", MASK.astype(np.uint16))
    with pytest.raises(DataError, match=r"deep\.png: the mask has mode 'I;16'"):
        reader.read(path)
    path = save(tmp_path / "lossy.jpg", MASK)
    with pytest.raises(DataError, match=r"lossy\.jpg: the mask is a JPEG"):
        reader.read(path)


def test_broken_masks(tmp_path):
    reader = LabelReader(3)
    path = tmp_path / "x.png"
    save(path, np.random.default_rng(0).integers(0, 3, (64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"x\.png: not a readable mask"):
        reader.read(str(path))
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"x\.png: the file is empty"):
        reader.read(str(path))
    with pytest.raises(DataError, match=r"none\.png: cannot be read"):
        reader.read(str(tmp_path / "none.png"))
