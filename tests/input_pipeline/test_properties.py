"""What holds of crops, boxes and label maps for any image, on examples that hypothesis picks."""

import io

import hypothesis
import hypothesis.extra.numpy
import numpy as np
import PIL.Image
import pytest
from hypothesis import strategies

from input_pipeline.batches import views
from input_pipeline.batches.boxes import BOX_AREA, draw_box
from input_pipeline.errors import DataError
from input_pipeline.sources.labels import LabelReader
from rcc_jax.methods.cutmix import box_masks

few = hypothesis.settings(max_examples=50, derandomize=True, deadline=None, database=None)
sides = strategies.integers(1, 40)
seeds = strategies.integers(0, 2**32 - 1)


@strategies.composite
def cropped_labels(draw):
    """A label [H, W], a geometry that the pipeline drew for it, and the side of the crop."""
    shape, side = (draw(sides), draw(sides)), draw(sides)
    label = np.random.default_rng(draw(seeds)).integers(0, 7, shape).astype(np.uint8)
    return label, views.draw_geometry(np.random.default_rng(draw(seeds)), *shape, side), side


def as_image(label):
    return np.repeat(label[..., None], 3, axis=2)


@few
@hypothesis.given(cropped_labels())
def test_crop_of_a_label_is_the_label_of_a_crop(case):
    label, geometry, side = case
    valid = views.valid_mask(geometry, side)
    found = views.crop_label(label, geometry, side)
    np.testing.assert_array_equal(found == 255, ~valid)
    assert set(found[valid]) <= set(label.ravel())
    # If one class fills the image, it fills the crop of both, and padding can be distinguished.
    image = views.crop_image(np.full((*label.shape, 3), 200, np.uint8), geometry, side)
    np.testing.assert_array_equal(image, np.where(valid, 200, 0)[..., None].repeat(3, 2))


@few
@hypothesis.given(cropped_labels(), strategies.data())
def test_without_a_resize_image_and_label_are_cropped_alike(case, data):
    label, drawn, side = case
    height, width = label.shape
    geometry = views.Geometry(
        height=height,
        width=width,
        top=data.draw(strategies.integers(0, max(height - side, 0))),
        left=data.draw(strategies.integers(0, max(width - side, 0))),
        flip=drawn.flip,
    )
    valid = views.valid_mask(geometry, side)
    found = views.crop_label(label, geometry, side)
    image = views.crop_image(as_image(label), geometry, side)
    np.testing.assert_array_equal(image[valid], as_image(found)[valid])


@few
@hypothesis.given(seeds, strategies.sampled_from([8, 33, 200]))  # Each size is compiled.
def test_box_lies_within_the_crop_and_has_its_area(seed, side):
    y0, x0, y1, x1 = box = draw_box(np.random.default_rng(seed), side)
    mask = np.asarray(box_masks(box[None], side, side))[0]
    assert mask.sum() == (y1 - y0) * (x1 - x0)
    if box.any():
        assert 0 <= y0 < y1 <= side
        assert 0 <= x0 < x1 <= side
        assert mask[y0:y1, x0:x1].all()
        # Each side is rounded down to whole pixels.
        low, high = BOX_AREA
        assert mask.sum() <= high * side**2
        assert (y1 - y0 + 1) * (x1 - x0 + 1) >= low * side**2


def png(mask):
    file = io.BytesIO()
    PIL.Image.fromarray(mask).save(file, "png")
    return file.getvalue()


values = strategies.integers(0, 254)
ids = strategies.sampled_from((0, 1, 2, 3, 255))


@few
@hypothesis.given(
    strategies.dictionaries(values, ids, min_size=1, max_size=6),
    strategies.none() | ids,
    hypothesis.extra.numpy.arrays(np.uint8, (3, 4)),
)
def test_a_label_map_maps_what_it_lists(listed, rest, mask):
    text = ",".join(f"{raw}:{new}" for raw, new in listed.items())
    reader = LabelReader(4, label_map=text if rest is None else f"{text},*:{rest}")
    expected = {255: 255, **listed}
    if rest is None and set(mask.ravel().tolist()) - set(expected):
        with pytest.raises(DataError, match=r"is not in data\.label_map"):
            reader.decode(png(mask), "mask.png")
        return
    found = reader.decode(png(mask), "mask.png")
    wanted = [[expected.get(int(raw), rest) for raw in row] for row in mask]
    np.testing.assert_array_equal(found, wanted)
