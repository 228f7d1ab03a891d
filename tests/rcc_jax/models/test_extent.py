"""Images in a padded batch get the same logits as alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.models import conv, layers
from rcc_jax.models.extent import Extent
from rcc_jax.models.resize import resize_bilinear
from rcc_jax.models.resnet import ARCHITECTURES, BasicBlock, Bottleneck

# Half of 16 is even, so pooled features reach one pixel outside the image.
SIZES = [(33, 42), (16, 47)]
SMALL = {"width": 4, "decoder_channels": 16, "aspp_rates": (1, 2, 3)}


def plain(x, kernel, *, stride=1, dilation=1):
    return conv.xla_convolution(stride, dilation, x, kernel)


def drawn(sizes, shape, outside):
    """Images in the corners of a batch of noise, and each of them alone."""
    rng = np.random.default_rng(0)
    batch = outside * rng.standard_normal((len(sizes), *shape, 3))
    alone = [rng.standard_normal((height, width, 3)) for height, width in sizes]
    for row, image in enumerate(alone):
        batch[row, : image.shape[0], : image.shape[1]] = image
    return batch, alone


def compare(model, sizes, shape, tolerance):
    batch, alone = drawn(sizes, shape, outside=100)
    padded = jax.jit(functools.partial(model, train=False))(batch, sizes=np.array(sizes, np.int32))
    for row, image in enumerate(alone):
        (expected,) = jax.jit(functools.partial(model, train=False))(image[None])
        height, width = image.shape[:2]
        np.testing.assert_allclose(
            padded[row, :height, :width], expected, atol=tolerance * np.ptp(expected), rtol=0
        )


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Small backbones of both kinds of blocks, with convolutions that compile fast."""
    monkeypatch.setattr(layers, "convolve", plain)
    monkeypatch.setitem(ARCHITECTURES, "basic", (BasicBlock, (1, 1, 1, 2)))
    monkeypatch.setitem(ARCHITECTURES, "bottleneck", (Bottleneck, (1, 1, 1, 2)))


@pytest.mark.parametrize(
    "arguments",
    [
        {"backbone": "basic", "stem": "deep", "output_stride": 8},
        pytest.param(
            {"backbone": "bottleneck", "stem": "v1", "output_stride": 16, "remat": True},
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda arguments: arguments["backbone"],
)
def test_padded_logits_equal_those_of_the_image_alone(make_model, arguments):
    with jax.enable_x64(True):
        model = make_model(**SMALL, **arguments, dtype=jnp.float64)
        compare(model, SIZES, (35, 47), 1e-12)


@pytest.mark.slow
def test_padded_logits_in_float32(make_model):
    compare(make_model(**SMALL, backbone="basic"), [(33, 40)], (35, 41), 2e-6)


def test_padding_is_refused_in_training(make_model):
    model = make_model(**SMALL, backbone="basic")
    images, sizes = jnp.zeros((1, 17, 17, 3)), jnp.array([[9, 9]])
    with pytest.raises(ValueError, match="sizes are for evaluation"):
        model(images, sizes=sizes, train=True)


def test_parts_of_an_extent_by_hand():
    rng = np.random.default_rng(1)
    # At stride 4: of [3, 2] pixels, 3 x 2 and 2 x 2 of them inside.
    x = rng.standard_normal((2, 3, 2, 4)).astype(np.float32)

    @jax.jit
    def run(sizes, x):
        extent = Extent(sizes, (10, 8))
        clear = extent.clear(x)
        alone = resize_bilinear(x[1:, :2], (6, 8))
        return clear, extent.mean(clear), extent.resize(clear, (10, 8)), alone

    clear, mean, resized, expected = run(np.array([[9, 5], [6, 8]]), x)
    np.testing.assert_array_equal(clear[0], x[0])
    np.testing.assert_array_equal(clear[1, :2], x[1, :2])
    assert not np.asarray(clear)[1, 2].any()
    np.testing.assert_allclose(mean[1, 0, 0], x[1, :2].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(resized[1:, :6], expected, atol=1e-6)
    assert not np.asarray(resized)[1, 6:].any()
    with pytest.raises(ValueError, match="features of 4 pixels do not fit an image of 10 pixels"):
        Extent(np.array([[9, 5]]), (10, 8)).clear(np.zeros((1, 4, 8, 1)))
