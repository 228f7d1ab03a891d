import numpy as np
import pytest
from PIL import Image

from rcc_jax.reporting.sheets import colorize, legend, palette, save_png, sheet


def test_palette_is_pascals_with_white_for_ignored():
    colors = palette(21)
    assert colors.shape == (256, 3)
    assert colors.dtype == np.uint8
    # Aeroplane, person and tv monitor of the VOC development kit.
    assert colors[[0, 1, 15, 20]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [192, 128, 128],
        [0, 64, 128],
    ]
    assert colors[255].tolist() == [255, 255, 255]
    assert len(np.unique(palette(255)[:255], axis=0)) == 255


def test_sheet_shows_every_picture_under_its_title_and_the_legend():
    rng = np.random.default_rng(0)
    label = np.array([[0, 1], [2, 255]], np.uint8).repeat(10, 0).repeat(15, 1)
    shown = colorize(label, palette(3))
    rows = [[rng.integers(0, 256, (20, 30, 3), np.uint8), shown] for _ in range(2)]
    picture = sheet(rows, ["image", "a title that is wider than its picture"], scale=2)
    assert picture.dtype == np.uint8
    for image in (rows[0][0], rows[1][0], shown):
        large = image.repeat(2, 0).repeat(2, 1)
        windows = np.lib.stride_tricks.sliding_window_view(picture, large.shape)[:, :, 0]
        corners = (windows[:, :, 0, 0] == large[0, 0]).all(-1)
        assert any((windows[tuple(corner)] == large).all() for corner in np.argwhere(corners))
    names = [f"class {index}" for index in range(12)]
    with_legend = sheet(rows, ["image", "truth"], class_names=names, palette=palette(12))
    plain = sheet(rows, ["image", "truth"])
    legend = with_legend[len(plain) :].reshape(-1, 3)
    assert with_legend.shape[1] == plain.shape[1]
    for color in palette(12)[:12]:
        assert (legend == color).all(-1).sum() > 50


def test_headings_and_legend_of_a_sheet():
    rows = [[np.full((20, 60, 3), 90, np.uint8)] * 3]
    titles, more = ["a", "b", "c"], {"ignored": (255, 255, 255), "blue": (0, 0, 255)}
    entries = legend(["x", "y"], palette(2), more)
    plain = sheet(rows, titles, **entries)
    with_groups = sheet(rows, titles, groups=[("two of", 2), ("one", 1)], **entries)
    height = len(with_groups) - len(plain)
    # What was there is below a line of its own, in which a rule spans the columns of each group.
    np.testing.assert_array_equal(with_groups[height:], plain)
    rule = (with_groups[height - 1] == 0).all(-1)
    first, last, second, end = np.flatnonzero(np.diff(rule, prepend=False)).tolist()
    assert first == 4
    assert 60 + 60 < last - first <= 60 + 4 + 60
    assert (second, end - second) == (4 + 2 * (60 + 4), last - first - 60 - 4)
    assert entries["class_names"] == ("x", "y", "ignored", "blue")
    assert entries["palette"].tolist() == [[0, 0, 0], [128, 0, 0], [255, 255, 255], [0, 0, 255]]
    squares = with_groups[height + 24 + 24 :].reshape(-1, 3)
    assert all((squares == color).all(-1).sum() > 50 for color in entries["palette"])


def test_sheet_refuses_ragged_rows():
    with pytest.raises(ValueError, match="row 0 has 1 pictures for 2 titles"):
        sheet([[np.zeros((2, 2, 3), np.uint8)]], ["image", "truth"])


def test_save_png_keeps_every_pixel(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    save_png(tmp_path / "a.png", picture)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), picture)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
