"""Drawn scenes are pure functions of their number, show every class, and have similar pairs."""

import colorsys

import numpy as np
import pytest

from input_pipeline.sources import scenes


@pytest.fixture(scope="module")
def drawn():
    return [scenes.draw_scene(number) for number in range(150)]


def test_scene_is_a_pure_function_of_its_number(drawn):
    np.random.seed(0)  # noqa: NPY002 (a global seed must not matter)
    for number in (149, 3, 77):
        image, label = scenes.draw_scene(number)
        np.testing.assert_array_equal(image, drawn[number][0])
        np.testing.assert_array_equal(label, drawn[number][1])
    assert len({image.tobytes() for image, _ in drawn}) == len(drawn)


def test_shapes_types_and_ids(drawn):
    for image, label in drawn:
        assert (image.shape, image.dtype) == ((96, 96, 3), np.uint8)
        assert (label.shape, label.dtype) == ((96, 96), np.uint8)
        assert label.max() < len(scenes.CLASS_NAMES) == 7
        assert image.std() > 4


def test_every_class_is_in_a_few_scenes_and_none_rules(drawn):
    for start in (0, 25, 50, 75, 100, 125):  # The demo's labelled scenes come first.
        count = 20 if start == 0 else 25
        present = {int(k) for _, label in drawn[start : start + count] for k in np.unique(label)}
        assert present == set(range(7))
    share = np.bincount(np.concatenate([label.ravel() for _, label in drawn]), minlength=7)
    share = share / share.sum()
    assert 0.65 < share[0] < 0.85
    assert share[1:].min() > 0.015
    assert share[1:].max() < 2.5 * share[1:].min()


def test_colour_tells_the_kinds_of_a_pair_apart_at_times_only(drawn):
    hues = {kind: [] for kind in range(1, 7)}
    for image, label in drawn:
        for kind in np.unique(label[label > 0]):
            color = image[label == kind].mean(0) / 255
            hues[int(kind)].append(colorsys.rgb_to_hsv(*color))
    for first in (1, 3, 5):
        one, other = np.array(hues[first]), np.array(hues[first + 1])
        for channel in range(3):
            spread = np.sqrt((one[:, channel].var() + other[:, channel].var()) / 2)
            gap = abs(one[:, channel].mean() - other[:, channel].mean())
            assert gap < 3 * spread, (first, channel)
