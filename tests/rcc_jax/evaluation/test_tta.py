"""Probabilities over windows, mirror images and scales, against averages made by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from rcc_jax.errors import ConfigError
from rcc_jax.evaluation.evaluator import Evaluator

COLORS = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32) / 60
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 12, 20, 3), np.uint8)
MODES = {"whole": {}, "sliding": {"mode": "sliding", "window": 8, "stride": 5}}


def color_model(variables, images):
    """Logits that depend only on the pixel, so that all windows agree."""
    return images.astype(jnp.float32) @ variables


def sided_model(variables, images):
    """Logits from a pixel and its left neighbour, so that a mirror image differs."""
    logits = color_model(variables, images)
    return logits + 2 * jnp.pad(logits, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]


def evaluator(model, mode, **options):
    one = jax.make_mesh((1,), ("data",), (AxisType.Auto,), devices=jax.devices()[:1])
    return Evaluator(model, num_classes=4, mesh=one, **MODES[mode], **options)


@pytest.mark.parametrize("mode", MODES)
def test_one_view_is_described_by_its_softmax(mode):
    plain = evaluator(color_model, mode)
    found = plain.describe(COLORS, IMAGES, probabilities=True)
    expected = np.asarray(jax.nn.softmax(color_model(COLORS, IMAGES), axis=-1))
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-4)
    np.testing.assert_allclose(found["confidence"], expected.max(axis=-1), rtol=1e-4)
    np.testing.assert_array_equal(found["labels"], plain.predictions(COLORS, IMAGES))
    logs = plain.log_probabilities(COLORS, IMAGES)[: len(IMAGES)]
    np.testing.assert_allclose(logs, np.log(expected), rtol=1e-3, atol=1e-4)
    assert plain.describe(COLORS, IMAGES).keys() == {"labels", "confidence"}


@pytest.mark.parametrize("mode", MODES)
def test_views_are_averaged_in_the_place_of_the_image(mode):
    one_view = evaluator(sided_model, mode)
    averaged = evaluator(sided_model, mode, flip=True, scales=(1.0, 1.5))

    def seen(images):
        return one_view.describe(COLORS, images, probabilities=True)["probabilities"]

    def resized(images, height, width):
        shape = (len(images), height, width, images.shape[-1])
        return np.asarray(jax.image.resize(images.astype(np.float32), shape, "linear"))

    large = resized(IMAGES, 18, 30)
    views = [
        seen(IMAGES),
        seen(IMAGES[:, :, ::-1])[:, :, ::-1],
        resized(seen(large), 12, 20),
        resized(seen(large[:, :, ::-1])[:, :, ::-1], 12, 20),
    ]
    expected = np.mean(views, axis=0)
    found = averaged.describe(COLORS, IMAGES, probabilities=True)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found["labels"], averaged.predictions(COLORS, IMAGES))
    # The average differs from each of its parts.
    assert min(np.abs(expected - view).max() for view in views) > 0.05
    mirrored = averaged.describe(COLORS, np.ascontiguousarray(IMAGES[:, :, ::-1]))
    np.testing.assert_allclose(
        mirrored["confidence"][:, :, ::-1], found["confidence"], rtol=1e-3, atol=1e-5
    )


def test_scales_are_named_as_they_are_typed():
    with pytest.raises(ConfigError, match="eval.scales = 0.75,abc must be comma-separated factors"):
        evaluator(color_model, "whole", scales=("0.75,abc",))


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -1.0), (5.0,), (float("nan"),), ("a",)])
def test_unusable_scales(scales):
    with pytest.raises(ConfigError, match="eval.scales"):
        evaluator(color_model, "whole", scales=scales)
