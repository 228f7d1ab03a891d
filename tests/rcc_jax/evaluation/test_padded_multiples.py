"""Networks of multiples of 14 pixels: one program for all sizes that are seen at one size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from input_pipeline import choose_shapes, count_sizes, evaluation_batches
from rcc_jax.models.network import IMAGENET_MEAN, IMAGENET_STD, Network, Weights
from tests.rcc_jax.evaluation.test_evaluator import brute_force_sliding
from tests.rcc_jax.evaluation.test_padded_evaluation import Drawn, count, evaluator
from tests.support import tiny_vit

# By the size that the network sees: every nearest multiple with its smallest and largest lengths.
SIZES = {
    (28, 42): [(28, 42), (21, 35), (34, 48), (27, 40)],
    (14, 28): [(1, 30), (20, 21), (5, 34)],
}


def linear(length, to):
    """Weights [to, length] of linear interpolation with aligned corners, in float64."""
    at = np.linspace(0, length - 1, to) if to > 1 else np.zeros(1)
    return np.stack([np.interp(at, np.arange(length), row) for row in np.eye(length)], axis=1)


def resized(image, size):
    rows, columns = (linear(*pair) for pair in zip(image.shape[:2], size, strict=True))
    return np.einsum("oh,pw,hwc->opc", rows, columns, image)


def normalized(image):
    return (image / 255 - IMAGENET_MEAN) / IMAGENET_STD


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def counting(module):
    """The evaluation of a module's network, its weights, and a list of what was compiled."""
    network, traces = Network(nnx.graphdef(module), multiple=14), []

    def predict(weights, images, sizes=None):
        traces.append(images.shape)
        return network.predict(weights, images, sizes)

    return predict, Weights.of(module), traces


def padded(own, source, batch_size=3):
    shapes = choose_shapes(count_sizes(source), 1, own.kind)
    return evaluation_batches(source, batch_size=batch_size, shapes=shapes)


def test_a_transformer_sees_whole_windows():
    module = tiny_vit.build()
    network, weights = Network(nnx.graphdef(module), multiple=14), Weights.of(module)
    predict = jax.jit(network.predict)
    own = evaluator(network.predict, tiny_vit.NUM_CLASSES, mode="sliding", window=28, stride=18)
    image = np.random.default_rng(3).integers(0, 256, (40, 50, 3), np.uint8)
    expected = brute_force_sliding(functools.partial(predict, weights), image, 28, 18)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(own.predictions(weights, image[None])[0], expected)


@pytest.mark.slow
def test_a_transformer_compiles_once_a_rounded_size_and_sees_each_image_alone():
    module = tiny_vit.build()
    predict, weights, traces = counting(module)
    own = evaluator(predict, tiny_vit.NUM_CLASSES, size_multiple=14)
    source = Drawn([size for group in SIZES.values() for size in group])
    found = {}
    for batch in padded(own, source):
        seen = own.describe(weights, batch["image"], batch["size"], probabilities=True)
        found.update(zip(batch["index"].tolist(), seen["probabilities"], strict=True))
    assert len(traces) == len(SIZES)

    run = jax.jit(lambda images: module(images, train=False))
    indices = iter(range(len(source)))
    for size, group in SIZES.items():
        chosen = [next(indices) for _ in group]
        images = [resized(normalized(source[index]["image"]), size) for index in chosen]
        logits = np.asarray(run(np.stack(images).astype(np.float32)), np.float64)
        for index, (height, width), each in zip(chosen, group, logits, strict=True):
            expected = softmax(resized(each, (height, width)))
            np.testing.assert_allclose(found[index][:height, :width], expected, atol=1e-5)


class Blurred(nnx.Module):
    """Logits from a pixel, the one to its left and the mean of all; compiles quickly."""

    def __init__(self):
        colors = np.random.default_rng(1).normal(size=(3, 4))
        self.colors = nnx.Param(jnp.asarray(colors, jnp.float32))

    def __call__(self, images, *, train):
        assert all(length % 14 == 0 for length in images.shape[1:3])
        x = 3 * images - 9 * images.mean(axis=(1, 2), keepdims=True)
        return (x + jnp.roll(images, 1, axis=2)) @ self.colors[...]


@pytest.mark.slow
def test_flip_and_scales_are_those_of_each_image():
    predict, weights, traces = counting(Blurred())
    views = {"size_multiple": 14, "flip": True, "scales": (1.0, 0.7)}
    own, alone = evaluator(predict, 4, **views), evaluator(predict, 4, **views)
    # All are seen at 28x42; 0.7 x 29 = 20.3 rounds to 14 and 0.7 x 30 = 21 to 28.
    source = Drawn([(29, 36), (34, 41), (22, 48)])
    assert choose_shapes(count_sizes(source), 1, own.kind).sizes == ((29, 48), (34, 41))
    confusion = own.confusion(weights, padded(own, source, batch_size=2))
    assert len(traces) == 4  # Two shapes at two scales.
    expected = np.zeros((4, 4), np.int64)
    for batch in padded(own, source, batch_size=2):
        found = own.describe(weights, batch["image"], batch["size"], probabilities=True)
        for index, seen in zip(batch["index"].tolist(), found["probabilities"], strict=True):
            if index < 0:
                continue
            element = source[index]
            height, width = element["label"].shape
            exact = alone.describe(weights, element["image"][None], probabilities=True)
            seen = seen[:height, :width]
            np.testing.assert_allclose(seen, exact["probabilities"][0], atol=1e-5)
            expected += count(exact["labels"][0], element["label"], 4)
    np.testing.assert_array_equal(confusion, expected)


def test_images_that_are_seen_at_other_sizes_than_the_batch_are_refused():
    predict, weights, _ = counting(Blurred())
    own = evaluator(predict, 4, size_multiple=14)
    images = np.zeros((2, 34, 48, 3), np.uint8)
    assert own.predictions(weights, images, np.array([[34, 48], [1, 1]])).shape == (2, 34, 48)
    with pytest.raises(ValueError, match=r"an image of \(20, 48\) pixels is padded to \(34, 48\)"):
        own.predictions(weights, images, np.array([[34, 48], [20, 48]]))


def test_shapes_are_those_of_the_kinds():
    kind = evaluator(None, 4, size_multiple=14).kind
    choose = functools.partial(choose_shapes, kind=kind)
    sizes = [size for group in SIZES.values() for size in group]
    shapes = choose(dict.fromkeys(sizes, 1), 1)
    assert shapes.sizes == ((20, 34), (34, 48))
    # The smallest shape that fits may be one at which the network would see something else.
    conflict = choose({(20, 22): 1, (13, 34): 1, (13, 35): 1}, 1)
    assert conflict.sizes == ((13, 35), (20, 34))
    assert conflict.covering((13, 34), "") == (20, 34)
    assert conflict.smallest((35, 35)) is None
    # As many kinds as sizes: padding would save nothing. None if it is switched off.
    assert not choose({(28, 42): 3, (42, 28): 1}, 1)
    assert not choose(dict.fromkeys(sizes, 1), 0)
