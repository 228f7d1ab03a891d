"""Proposed settings read the masks that they were proposed for."""

import io

import numpy as np
import PIL.Image
import pytest

from input_pipeline.inspection import proposals
from input_pipeline.sources.labels import LabelReader, stored_mask


def png(pixels) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def read(data, proposal, num_classes) -> np.ndarray:
    fields = {"num_classes": num_classes, "label_map": "", "colormap": ""}
    fields |= {name.removeprefix("data."): value for name, value in proposal.fields.items()}
    return LabelReader(**fields).decode(data, "mask.png")


@pytest.mark.parametrize(
    ("values", "num_classes", "fields", "ids"),
    [
        # Binary masks, with the right and a wrong number of classes.
        ([0, 255], 2, {"data.label_map": "0:0,255:1"}, [0, 1]),
        ([0, 255], 21, {"data.label_map": "0:0,255:1", "data.num_classes": 2}, [0, 1]),
        ([0, 128], 2, {"data.label_map": "0:0,128:1"}, [0, 1]),
        # One id too many is usually void, as in CamVid's own masks; several are classes.
        ([0, 1, 2, 3], 3, {"data.label_map": "0:0,1:1,2:2,*:255"}, [0, 1, 2, 255]),
        ([0, 1, 2, 3, 4], 3, {"data.num_classes": 5}, [0, 1, 2, 3, 4]),
        ([0, 1, 2, 99, 255], 3, {"data.label_map": "0:0,1:1,2:2,*:255"}, [0, 1, 2, 255, 255]),
        # Ids from 1 on, and ids spread over grey levels to be visible.
        ([1, 2, 3, 255], 3, {"data.label_map": "1:0,2:1,3:2"}, [0, 1, 2, 255]),
        (
            [0, 60, 120, 180],
            3,
            {"data.label_map": "0:0,60:1,120:2,180:3", "data.num_classes": 4},
            [0, 1, 2, 3],
        ),
    ],
)
def test_proposed_label_map(values, num_classes, fields, ids):
    data = png([values])
    proposed = proposals.for_values(stored_mask(data, "m").values, num_classes)
    assert proposed[0].fields == fields
    assert read(data, proposed[0], num_classes)[0].tolist() == ids
    for proposal in proposed:
        read(data, proposal, num_classes)


def test_values_that_no_setting_reads():
    counts = np.ones(256, np.int64)
    (proposal,) = proposals.for_values(counts, 3)
    assert proposal.fields == {}
    assert "256 values" not in proposal.meaning  # 255 may be the ignored value
    assert "255 values" in proposal.meaning
    assert proposals.for_values(counts * (np.arange(256) == 255), 3) == []


@pytest.mark.parametrize(
    ("colors", "num_classes", "fields", "ids"),
    [
        (
            ["000000", "ff0000", "00ff00"],
            3,
            {"data.colormap": "#000000:0,#00ff00:1,#ff0000:2"},
            [0, 2, 1],
        ),
        # One colour too many: black is usually void.
        (
            ["000000", "ff0000", "00ff00"],
            2,
            {"data.colormap": "#00ff00:0,#ff0000:1,#000000:255"},
            [255, 1, 0],
        ),
        (["000000", "ffffff"], 2, {"data.colormap": "#000000:0,#ffffff:1"}, [0, 1]),
        # Ids that were saved as grey colours, and PASCAL VOC's own colours with its void.
        (
            ["000000", "010101", "020202", "ffffff"],
            3,
            {"data.colormap": "#000000:0,#010101:1,#020202:2,#ffffff:255"},
            [0, 1, 2, 255],
        ),
        (
            ["000000", "008000", "e0e0c0"],
            21,
            {"data.colormap": "#000000:0,#008000:2,#e0e0c0:255"},
            [0, 2, 255],
        ),
        (
            ["000000", "800000", "808000"],
            3,
            {"data.colormap": "#000000:0,#800000:1,#808000:3", "data.num_classes": 4},
            [0, 1, 3],
        ),
    ],
)
def test_proposed_colormap(colors, num_classes, fields, ids):
    data = png([[list(bytes.fromhex(color)) for color in colors]])
    counts = stored_mask(data, "m").colors
    proposed = proposals.for_colors(counts, num_classes)
    assert proposed[0].fields == fields
    assert read(data, proposed[0], num_classes)[0].tolist() == ids
    for proposal in proposed:
        read(data, proposal, num_classes)


def test_blended_colors_are_ignored():
    ramp = np.arange(100)[:, None] * [1, 0, 0]
    pixels = np.concatenate([ramp, np.full((500, 3), [0, 255, 0]), np.zeros((300, 3))])[None]
    data = png(pixels)
    (proposal,) = proposals.for_colors(stored_mask(data, "m").colors, 2)
    assert proposal.fields == {"data.colormap": "#000000:0,#00ff00:1,*:255"}
    assert np.unique(read(data, proposal, 2)).tolist() == [0, 1, 255]


def test_tables_that_lack_something_are_completed():
    (proposal,) = proposals.for_values(np.bincount([0, 7], minlength=256), 3, "0:0,1:1")
    assert read(png([[0, 7, 1]]), proposal, 3).tolist() == [[0, 255, 1]]
    (proposal,) = proposals.for_colors({0: 1, 255: 1}, 3, "#000000:2")
    assert read(png([[[0, 0, 0], [0, 0, 255]]]), proposal, 3).tolist() == [[2, 255]]


@pytest.mark.parametrize(
    ("size", "given", "side"),
    [
        ((480, 360), 321, None),
        ((480, 360), 513, 353),
        ((160, 120), 321, 113),
        ((2048, 1024), 321, 769),
        ((2048, 1024), 801, None),
        ((6000, 4000), 2049, None),
        ((30, 20), 513, 17),
        ((480, 360), 0, 353),
        ((10, 10), 0, 17),
    ],
)
def test_crop_far_from_the_images(size, given, side):
    proposal = proposals.crop_size({size: 10, (5000, 5000): 2}, given)
    assert (None if proposal is None else proposal.fields) == (side and {"data.crop_size": side})
    assert proposals.crop_size({}, given) is None


def test_classes_that_are_set_too_many():
    counts = np.bincount([0, 4, 255], minlength=256)
    assert proposals.num_classes(counts, 21).fields == {"data.num_classes": 5}
    assert proposals.num_classes(counts, 5) is None
    assert proposals.num_classes(np.zeros(256, int), 5) is None


@pytest.mark.parametrize(
    ("values", "fields", "ids"),
    [
        ([0, 1, 2], {"data.num_classes": 3}, [0, 1, 2]),
        ([0, 1, 255], {"data.num_classes": 2}, [0, 1, 255]),
        # A class is absent from the few masks; ids from 1 on.
        ([0, 1, 3], {"data.num_classes": 4}, [0, 1, 3]),
        ([1, 2], {"data.num_classes": 3}, [1, 2]),
        ([0, 255], {"data.num_classes": 2, "data.label_map": "0:0,255:1"}, [0, 1]),
        # One class or none, grey levels, a photograph: the user must say what they are.
        ([0], None, None),
        ([1, 255], None, None),
        ([0, 128], None, None),
        ([10, 20, 30], None, None),
        (list(range(200)), None, None),
    ],
)
def test_classes_of_ids(values, fields, ids):
    data = png([values])
    found = proposals.classes(stored_mask(data, "m").values, {})
    assert (None if found is None else found.fields) == fields
    if found is not None:
        assert read(data, found, 0)[0].tolist() == ids


@pytest.mark.parametrize(
    ("colors", "ids", "num_classes"),
    [
        (["000000", "ff0000", "00ff00"], [0, 2, 1], 3),
        (["000000", "ffffff"], [0, 1], 2),
        # Two colours of VOC, but of one mask in grey.
        (["000000", "808080"], [0, 1], 2),
        (["000000", "010101", "030303", "ffffff"], [0, 1, 3, 255], 4),
        (["000000", "808000", "e0e0c0"], [0, 3, 255], 4),
        (["102030"], None, None),
    ],
)
def test_classes_of_colors(colors, ids, num_classes):
    data = png([[list(bytes.fromhex(color)) for color in colors]])
    counts = stored_mask(data, "m").colors
    found = proposals.classes(np.zeros(256, int), counts)
    if ids is None:
        assert found is None
        return
    assert found.fields["data.num_classes"] == num_classes
    assert read(data, found, 0)[0].tolist() == ids
    # Some masks have ids and some have colours.
    assert proposals.classes(np.ones(256, int), counts) is None


@pytest.mark.parametrize(
    ("labeled", "val", "absent", "share", "fields"),
    [
        (16, 4, [], 0.2, {"data.val": "0.5"}),
        (32, 8, [], 0.2, {"data.val": "0.25"}),
        (8, 2, ["a"], 0.2, {"data.val": "0.5"}),
        (80, 20, ["a"], 0.2, {"data.val": "0.4"}),
        (5, 5, [], 0.5, {}),
        (16, 9, [], None, {}),
        (80, 20, ["a"], None, {}),
    ],
)
def test_validation_that_tells_little(labeled, val, absent, share, fields):
    found = proposals.validation(labeled, val, absent, share)
    assert found.fields == fields
    assert ("no pixel of a, which" in found.meaning) is bool(absent)
    assert (f"only {val} images" in found.meaning) is (val < 10)
    # Nothing to propose, or the fault is reported elsewhere.
    assert proposals.validation(labeled, 10, [], share) is None
    assert proposals.validation(labeled, 0, absent, share) is None
