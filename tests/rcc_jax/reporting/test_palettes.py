"""Colours of classes: official ones by name, else colours far from each other and all others."""

import cv2
import numpy as np
import pytest

from configs import camvid, cityscapes, common
from rcc_jax.reporting import heat_map, palettes, sheets


def colors(num_classes, name="", source="folder", colormap=""):
    fields = {"num_classes": num_classes, "name": name, "source": source, "colormap": colormap}
    return palettes.of_data(fields)


def test_known_data_sets_keep_their_colours():
    for name in ("pascal_classic", "pascal_blender"):
        np.testing.assert_array_equal(colors(21, name), sheets.palette(21))
    # Road, person and bicycle of Cityscapes; sky and bicyclist of CamVid.
    shown = colors(19, "cityscapes")
    assert shown[[0, 11, 18]].tolist() == [[128, 64, 128], [220, 20, 60], [119, 11, 32]]
    names = cityscapes.CLASS_NAMES
    assert [names[i] for i in (0, 11, 18)] == ["road", "person", "bicycle"]
    shown = palettes.of_data(camvid.get_config("1_8").data)
    assert shown[[0, 10]].tolist() == [[128, 128, 128], [0, 128, 192]]
    assert len(np.unique(shown[:11], axis=0)) == 11
    np.testing.assert_array_equal(colors(7, source="scenes"), sheets.palette(7))


@pytest.mark.parametrize("num_classes", [2, 8, 24, 64, 65, 255])
def test_colours_of_ones_own_classes_differ_from_each_other_and_from_padding(num_classes):
    shown = colors(num_classes)
    assert shown.dtype == np.uint8
    assert (shown[num_classes:255] == sheets.UNUSED).all()
    assert (shown[255] == 255).all()
    known = [*shown[:num_classes], (0, 0, 0), (255, 255, 255), sheets.UNUSED]
    lab = cv2.cvtColor(np.array([known], np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    distances = np.linalg.norm(lab[:, None] - lab, axis=-1) + np.diag(np.full(len(lab), 999))
    # A difference of 2 can just be seen side by side.
    assert distances[:64].min() > (20 if num_classes <= 64 else 2)
    assert distances.min() > 1
    first = min(num_classes, 8)
    np.testing.assert_array_equal(shown[:first], colors(8)[:first])


def test_a_known_name_with_more_classes_is_other_data():
    config = common.get_config()
    config.data.name, config.data.source, config.data.num_classes = "camvid", "folder", 12
    np.testing.assert_array_equal(palettes.of_data(config.data), colors(12))


def test_masks_of_colours_keep_them():
    table = "#ffffff:0,#ff8000:1, #010203:1,#00FF80 : 2,#000000:255,*:255"
    shown = colors(4, colormap=table)
    # White stays the colour of what is ignored.
    assert shown[:3].tolist() == [colors(4)[0].tolist(), [255, 128, 0], [0, 255, 128]]
    np.testing.assert_array_equal(shown[3:], colors(4)[3:])


def test_shades_and_their_legend_agree():
    (low, middle, high) = heat_map.scale("confidence ").values()
    assert list(heat_map.scale("confidence ")) == ["confidence 0", "0.5", "1"]
    np.testing.assert_array_equal(heat_map.shades(np.array([0, 0.5, 1])), [low, middle, high])
