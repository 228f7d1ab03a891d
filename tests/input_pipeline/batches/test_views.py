"""Geometry of the views, validity of padding, and CutMix boxes."""

import numpy as np
import pytest

from input_pipeline.batches import photometric, views
from input_pipeline.batches.boxes import box_mask, draw_box
from rcc_jax.methods import cutmix


def test_scale_is_uniform_and_keeps_the_aspect():
    rng = np.random.default_rng(0)
    drawn = [views.draw_geometry(rng, 300, 400, 321) for _ in range(4000)]
    scales = np.array([geometry.width / 400 for geometry in drawn])
    assert 0.5 <= scales.min() < 0.51
    assert 1.99 < scales.max() <= 2.0
    np.testing.assert_allclose(
        np.quantile(scales, [0.25, 0.5, 0.75]), [0.875, 1.25, 1.625], atol=0.04
    )
    for geometry in drawn[:500]:
        assert abs(geometry.height - geometry.width * 0.75) <= 0.51
    assert np.mean([geometry.flip for geometry in drawn]) == pytest.approx(0.5, abs=0.03)


def test_crop_reaches_every_place_once_as_often():
    rng = np.random.default_rng(0)
    places = {}
    for _ in range(20_000):
        geometry = views.draw_geometry(rng, 12, 12, 8)
        places.setdefault(geometry.height, []).append((geometry.top, geometry.left))
    tops, lefts = np.array(places[12]).T
    assert np.unique(tops).tolist() == np.unique(lefts).tolist() == [0, 1, 2, 3, 4]
    assert np.bincount(tops).min() > 0.8 * len(tops) / 5
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.1
    assert set(places[8]) == {(0, 0)}
    assert set(places[6]) == {(0, 0)}


def test_enlarging_is_bilinear_about_pixel_centres():
    image = np.random.default_rng(0).integers(0, 256, (10, 14, 3)).astype(np.uint8)
    geometry = views.Geometry(height=20, width=28, top=3, left=5, flip=False)
    rows, columns = ((np.arange(n) + 0.5) / 2 - 0.5 for n in (20, 28))
    rows, columns = rows.clip(0, 9), columns.clip(0, 13)
    y0, x0 = rows.astype(int).clip(0, 8), columns.astype(int).clip(0, 12)
    wy, wx = (rows - y0)[:, None, None], (columns - x0)[None, :, None]
    top = image[y0][:, x0] * (1 - wx) + image[y0][:, x0 + 1] * wx
    bottom = image[y0 + 1][:, x0] * (1 - wx) + image[y0 + 1][:, x0 + 1] * wx
    expected = (top * (1 - wy) + bottom * wy)[3:15, 5:17]
    np.testing.assert_allclose(
        views.crop_image(image, geometry, 12).astype(float), expected, atol=1
    )


def test_shrinking_weights_pixels_by_a_triangle_of_the_new_pixel_size():
    image = np.random.default_rng(0).integers(0, 256, (20, 28, 3)).astype(np.uint8)
    geometry = views.Geometry(height=10, width=14, top=1, left=2, flip=True)
    expected = image.astype(float)
    for axis, places in ((0, range(1, 9)), (1, range(2, 10))):  # Away from the border.
        weights = np.zeros((len(places), expected.shape[axis]))
        for row, place in enumerate(places):
            weights[row, 2 * place - 1 : 2 * place + 3] = np.array([1, 3, 3, 1]) / 8
        expected = np.moveaxis(np.tensordot(weights, expected, (1, axis)), 0, axis)
    np.testing.assert_allclose(views.crop_image(image, geometry, 8), expected[:, ::-1], atol=1)


def test_label_is_nearest_by_pixel_centres():
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(5, 60, 2)
        rows = np.repeat(np.arange(height, dtype=np.uint8)[:, None], width, 1)
        columns = np.repeat(np.arange(width, dtype=np.uint8)[None], height, 0)
        geometry = views.draw_geometry(rng, height, width, 50)
        valid = views.valid_mask(geometry, 50)
        y = (np.arange(50)[:, None] + geometry.top + 0.5) * height / geometry.height
        x = np.arange(50)[::-1] if geometry.flip else np.arange(50)
        x = (x[None] + geometry.left + 0.5) * width / geometry.width
        for label, centre in ((rows, y), (columns, x)):
            result = views.crop_label(label, geometry, 50)
            # The centre of the new pixel lies in the source pixel that was taken.
            distance = np.abs(result + 0.5 - centre)
            assert distance[valid].max() <= 0.5 + 1e-9
            assert (result[~valid] == 255).all()


@pytest.mark.parametrize("crop_size", [8, 33, 90])
def test_image_label_and_validity_stay_together(crop_size):
    image = np.full((40, 56, 3), 255, np.uint8)
    image[..., 0] = 4 + np.arange(56) * 4
    image[..., 1] = 4 + np.arange(40)[:, None] * 6
    label = (np.arange(56) // 14 + 4 * (np.arange(40)[:, None] // 10)).astype(np.uint8)
    rng = np.random.default_rng(crop_size)
    padded = 0
    for _ in range(60):
        state = rng.bit_generator.state
        labeled = views.LabeledViews(crop_size)({"image": image, "label": label}, rng)
        rng.bit_generator.state = state
        unlabeled = views.UnlabeledViews(crop_size, 0, boxes=False)({"image": image}, rng)
        np.testing.assert_array_equal(labeled["image"], unlabeled["weak"])
        # The image is white in blue, padding black: the pixels themselves tell where it lies.
        valid = unlabeled["weak"][..., 2] == 255
        np.testing.assert_array_equal(unlabeled["valid"], valid)
        np.testing.assert_array_equal(labeled["label"] != 255, valid)
        assert (unlabeled["weak"][~valid] == 0).all()
        padded += not valid.all()
        weak = unlabeled["weak"].astype(float)
        column, row = (weak[..., 0] - 4) / 4 + 0.5, (weak[..., 1] - 4) / 6 + 0.5
        expected = column // 14 + 4 * (row // 10)
        off_edges = (np.abs(column % 14 - 7) < 5.9) & (np.abs(row % 10 - 5) < 3.9) & valid
        np.testing.assert_array_equal(labeled["label"][off_edges], expected[off_edges])
    assert (padded > 0) == (crop_size > 20)


def test_strong_views_keep_geometry_and_do_not_depend_on_their_number():
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 256, (5, 7, 1)), np.ones((6, 6, 1)))
    image = np.clip(blocks + [10, 0, -10], 0, 255).astype(np.uint8)
    equal = 0
    for seed in range(40):
        two = views.UnlabeledViews(24, 2, boxes=True)({"image": image}, np.random.default_rng(seed))
        one = views.UnlabeledViews(24, 1, boxes=True)({"image": image}, np.random.default_rng(seed))
        assert set(two) == {"weak", "valid", "strong1", "strong2", "boxes"}
        assert set(one) == {"weak", "valid", "strong1", "boxes"}
        for name in ("weak", "valid", "strong1"):
            np.testing.assert_array_equal(two[name], one[name])
        np.testing.assert_array_equal(two["boxes"][:1], one["boxes"])
        equal += np.array_equal(two["strong1"], two["strong2"])
        for name in ("strong1", "strong2"):
            # Colours and sharpness change, but every edge stays where it is.
            gray = [two[key].mean(2)[two["valid"]] for key in ("weak", name)]
            assert np.corrcoef(gray)[0, 1] > 0.5
    assert equal < 8  # Both may be left unchanged.


def test_names_that_are_not_registered_are_refused():
    rng, image = np.random.default_rng(0), np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="recipe = 'x': must be one of 'none', 'unimatch'"):
        photometric.strong_view(image, rng, "x")
    with pytest.raises(ValueError, match="box = 'x': must be one of 'none', 'unimatch'"):
        draw_box(rng, 4, "x")
    # Views refuse them when they are made, not in the worker process that first uses them.
    for field in ("recipe", "box"):
        with pytest.raises(ValueError, match=f"{field} = 'x'"):
            views.UnlabeledViews(24, 2, boxes=True, **{field: "x"})


def test_views_leave_the_image_alone():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    image.setflags(write=False)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        views.UnlabeledViews(24, 2, boxes=True)({"image": image}, rng)


@pytest.mark.parametrize("crop_size", [64, 321])
def test_boxes(crop_size):
    rng = np.random.default_rng(0)
    boxes = np.stack([draw_box(rng, crop_size) for _ in range(4000)])
    assert boxes.dtype == np.int32
    present = boxes.any(1)
    assert present.mean() == pytest.approx(0.5, abs=0.03)
    y0, x0, y1, x1 = boxes[present].T
    height, width = y1 - y0, x1 - x0
    assert min(y0.min(), x0.min()) >= 0
    assert max(y1.max(), x1.max()) <= crop_size
    # Sides are cut to whole pixels, so a box may miss its area by a row and a column.
    area = height * width
    assert (area <= 0.4 * crop_size**2).all()
    assert ((height + 1) * (width + 1) > 0.02 * crop_size**2).all()
    assert np.median(area / crop_size**2) == pytest.approx(0.21, abs=0.02)
    assert ((height + 1) / width >= 0.3).all()
    assert (height / (width + 1) <= 1 / 0.3).all()
    assert (height / width).max() > 2.9
    assert (height / width).min() < 0.4
    centre = (y0 + y1).mean() / 2 / crop_size, (x0 + x1).mean() / 2 / crop_size
    assert centre == pytest.approx((0.5, 0.5), abs=0.02)


def test_tiny_crops_have_boxes_that_fit():
    rng = np.random.default_rng(0)
    for crop_size in (1, 2, 5):
        boxes = np.stack([draw_box(rng, crop_size) for _ in range(200)])
        assert boxes.max() <= crop_size
        drawn = boxes[boxes.any(1)]
        assert (drawn[:, 2:] > drawn[:, :2]).all()


@pytest.mark.parametrize("crop_size", [64, 321])
def test_half_area_boxes(crop_size):
    rng = np.random.default_rng(0)
    boxes = np.stack([draw_box(rng, crop_size, "half_area") for _ in range(3000)])
    assert boxes.dtype == np.int32
    assert boxes.min() >= 0
    assert boxes.max() == crop_size
    y0, x0, y1, x1 = boxes.T
    height, width = (y1 - y0) / crop_size, (x1 - x0) / crop_size
    # Both sides are rounded to whole pixels.
    for side in (height, width):
        assert 0.5 - 0.5 / crop_size <= side.min() < 0.51
        assert 0.99 < side.max() <= 1
    np.testing.assert_allclose(height * width, 0.5, atol=0.8 / crop_size)
    # log2 of a side is uniform in [-1, 0].
    quartiles = np.quantile(np.log2(height), [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, [-0.75, -0.5, -0.25], atol=0.03)
    # The place is uniform among those that fit, in both directions independently.
    free = [1 - height, 1 - width]
    places = np.stack([y0, x0]) / crop_size / np.maximum(free, 1e-9)
    wide = (np.array(free) > 0.1).all(0)
    np.testing.assert_allclose(
        np.quantile(places[:, wide], [0.25, 0.5, 0.75], axis=1).T,
        2 * [[0.25, 0.5, 0.75]],
        atol=0.04,
    )
    assert abs(np.corrcoef(places[:, wide])[0, 1]) < 0.06
    if crop_size == 64:
        for tiny in (1, 2, 3):
            y0, x0, y1, x1 = draw_box(rng, tiny, "half_area")
            assert 0 <= y0 < y1 <= tiny
            assert 0 <= x0 < x1 <= tiny


@pytest.mark.parametrize("crop_size", [64, 321])
def test_toggled_boxes(crop_size):
    rng = np.random.default_rng(0)
    boxes = np.stack([draw_box(rng, crop_size, "toggled") for _ in range(2000)])
    assert (boxes.shape, boxes.dtype) == ((2000, 3, 4), np.int32)
    assert boxes.min() >= 0
    assert boxes.max() <= crop_size
    y0, x0, y1, x1 = boxes.reshape(-1, 4).T
    area = (y1 - y0) * (x1 - x0) / crop_size**2
    # A third of what is uniform in [0.25, 0.5), up to the rounding of the sides.
    slack = 1 / crop_size
    np.testing.assert_allclose(
        np.quantile(3 * area, [0, 0.5, 1]), [0.25, 0.375, 0.5], atol=0.01 + 3 * slack
    )
    masks = np.stack([box_mask(each, crop_size) for each in boxes[:400]])
    assert masks.mean() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(cutmix.box_masks(boxes[:400], crop_size, crop_size), masks)


def test_views_of_the_recipe_none_are_weak():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    make = views.UnlabeledViews(24, 2, boxes=True, recipe="none", box="half_area")
    made = make({"image": image}, np.random.default_rng(3))
    assert made["boxes"].any(1).all()
    for name in ("strong1", "strong2"):
        np.testing.assert_array_equal(made[name], made["weak"])


def test_pseudo_labelled_images_are_changed_and_labelled_ones_never():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    element = {"image": image, "label": rng.integers(0, 3, (64, 64)).astype(np.uint8)}
    shares = []
    for seed in range(400):
        plain, labeled, pseudo = (
            view(each, np.random.default_rng(seed))
            for view, each in (
                (views.LabeledViews(48), element),
                (views.PseudoViews(48), {**element, "pseudo": False}),
                (views.PseudoViews(48), {**element, "pseudo": True}),
            )
        )
        for name in ("image", "label"):
            np.testing.assert_array_equal(labeled[name], plain[name])
        cut = (pseudo["label"] == 255) & (plain["label"] != 255)
        assert (pseudo["label"][~cut] == plain["label"][~cut]).all()
        shares.append((pseudo["label"] != plain["label"]).mean())
    shares = np.array(shares)
    assert np.mean(shares > 0) == pytest.approx(0.5, abs=0.08)
    assert shares.max() <= 0.4
    assert np.mean(shares[shares > 0]) > 0.1


def test_labels_are_ignored_exactly_where_noise_is():
    image, label = np.full((64, 64, 3), 100, np.uint8), np.ones((64, 64), np.uint8)
    noisy = 0
    for seed in range(40):
        cut = views.cut_out(image, label, np.random.default_rng(seed))
        changed = (cut["image"] != 100).any(axis=-1)
        # One pixel in 256 ** 3 of the noise has the colour of the image.
        np.testing.assert_array_equal(changed, cut["label"] == 255)
        noisy += changed.any()
        if changed.any():
            assert cut["image"][changed].mean() == pytest.approx(127.5, abs=10)
    assert 10 < noisy < 30
    assert (image == 100).all()
    assert (label == 1).all()
