"""Images of many sizes, padded to few shapes: equal scores, one compilation per shape."""

import copy
import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType

import input_pipeline
from configs import common
from input_pipeline import choose_shapes, count_sizes
from rcc_jax.evaluation import padded_views
from rcc_jax.evaluation.evaluator import Evaluator
from rcc_jax.models import layers
from rcc_jax.models.resnet import ARCHITECTURES, BasicBlock
from rcc_jax.training.run import Run
from rcc_jax.training.train_state import Weights
from rcc_jax.training.train_step import Network
from rcc_jax.training.validation import draw_predictions, evaluate_confusion
from tests.input_pipeline.batches.test_evaluation import Sizes
from tests.input_pipeline.conftest import Folder
from tests.rcc_jax.models.conftest import drawn
from tests.rcc_jax.models.test_extent import plain

SIZES = [(17, 24), (18, 23), (24, 17), (23, 19), (20, 20), (17, 21),
         (24, 24), (21, 18), (16, 16), (22, 24), (19, 17), (24, 22)]  # fmt: skip


class Drawn(Sizes):
    """Images and masks of noise."""

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (*self._sizes[index], 3), np.uint8)
        label = rng.choice([0, 1, 2, 3, 255], self._sizes[index]).astype(np.uint8)
        return {"image": image, "label": label}


def count(labels, truth, num_classes):
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (truth[truth < 255], labels[truth < 255]), 1)
    return confusion


def evaluator(predict, num_classes, **options):
    one = jax.make_mesh((1,), ("data",), (AxisType.Auto,), devices=jax.devices()[:1])
    return Evaluator(predict, num_classes=num_classes, mesh=one, **options)


def padded_batches(source, max_shapes=3, **options):
    shapes = choose_shapes(count_sizes(source), max_shapes)
    assert len(shapes.sizes) == max_shapes
    return input_pipeline.evaluation_batches(source, batch_size=3, shapes=shapes, **options)


@pytest.mark.slow
def test_network_compiles_once_a_shape_and_counts_as_image_by_image(monkeypatch):
    # Stages without a block compile quickly.
    monkeypatch.setitem(ARCHITECTURES, "short", (BasicBlock, (1, 1, 0, 0)))
    monkeypatch.setattr(layers, "convolve", plain)
    graphdef, values = drawn(0, False, backbone="short", stem="v1", width=4, decoder_channels=16)
    _, params, stats = nnx.split(nnx.merge(graphdef, values), nnx.Param, nnx.BatchStat)
    weights = Weights(nnx.to_pure_dict(params), nnx.to_pure_dict(stats))
    network, traces = Network(nnx.graphdef(nnx.merge(graphdef, values))), []

    def predict(weights, images, sizes=None):
        traces.append(images.shape)
        return network.predict(weights, images, sizes)

    source = Drawn(SIZES * 2)
    own = evaluator(predict, 5)
    found = own.confusion(weights, padded_batches(source))
    # The halves of two processes, and pictures, use the shapes of the whole set.
    halves = [own.confusion(weights, padded_batches(source, shard=(i, 2))) for i in (0, 1)]
    np.testing.assert_array_equal(sum(halves), found)
    assert len(traces) == len(set(traces)) == 3

    alone, expected, differing = jax.jit(network.predict), np.zeros((5, 5), np.int64), 0
    labels = {}
    for batch in padded_batches(source):
        seen = own.predictions(weights, batch["image"], batch["size"])
        labels.update(zip(batch["index"].tolist(), seen, strict=True))
    for index, (height, width) in enumerate(SIZES * 2):
        element = source[index]
        exact = np.asarray(alone(weights, element["image"][None])[0].argmax(-1))
        expected += count(exact, element["label"], 5)
        differing += (labels[index][:height, :width] != exact).sum()
    assert len(np.unique(np.nonzero(expected)[1])) > 2  # Not a network that predicts one class.
    assert differing <= 1e-5 * sum(height * width for height, width in SIZES * 2)
    assert np.abs(found - expected).sum() <= 2 * differing
    assert len(traces) == 3


def sided_model(variables, images, sizes=None):
    """Logits from a pixel, the one to its left and the mean of the image."""
    height, width = images.shape[1:3]
    x = images.astype(jnp.float32)
    if sizes is None:
        sizes = jnp.full((len(images), 2), jnp.array([[height, width]]))
    rows = jnp.arange(height)[None] < sizes[:, :1]
    columns = jnp.arange(width)[None] < sizes[:, 1:]
    x = jnp.where(rows[:, :, None, None] & columns[:, None, :, None], x, 0)
    pixels = jnp.prod(sizes, axis=1).astype(jnp.float32).reshape(-1, 1, 1, 1)
    x = 3 * x - 2 * x.sum(axis=(1, 2), keepdims=True) / pixels
    x = x + jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
    return x @ variables


COLORS = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32) / 100


def test_flip_and_scales_are_those_of_each_image():
    sizes = SIZES[1:3]
    source = Drawn(sizes)
    views = {"flip": True, "scales": (1.0, 0.7)}
    padded = evaluator(sided_model, 4, **views)
    seen = {}
    for batch in padded_batches(source, 1):
        found = padded.describe(COLORS, batch["image"], batch["size"], probabilities=True)
        seen.update(zip(batch["index"].tolist(), found["probabilities"], strict=True))
    alone = evaluator(sided_model, 4, **views)
    expected = np.zeros((4, 4), np.int64)
    for index, (height, width) in enumerate(sizes):
        element = source[index]
        exact = alone.describe(COLORS, element["image"][None], probabilities=True)
        own = seen[index][:height, :width]
        np.testing.assert_allclose(own, exact["probabilities"][0], atol=1e-5)
        expected += count(exact["labels"][0], element["label"], 4)
    np.testing.assert_array_equal(padded.confusion(COLORS, padded_batches(source, 1)), expected)


def test_windows_refuse_padding():
    sliding = evaluator(sided_model, 4, mode="sliding", window=8, stride=5)
    images, sizes = np.zeros((1, 9, 9, 3), np.uint8), np.array([[5, 5]])
    with pytest.raises(ValueError, match="without padding"):
        sliding.predictions(COLORS, images, sizes)


@pytest.mark.parametrize("scale", [0.6, 1.75])
def test_smoothing_equals_that_of_jax(scale):
    sizes = np.array([[11, 16], [9, 7]], np.int32)
    images = np.random.default_rng(2).normal(size=(2, 11, 16, 2)).astype(np.float32)
    own = padded_views.scaled(sizes, scale)
    assert own.tolist() == [[round(scale * length) for length in size] for size in sizes.tolist()]

    @jax.jit
    def run(images, before, after):
        resized = padded_views.resize(images, before, after, size=tuple(own[0].tolist()))
        shape = (*own[1].tolist(), 2)
        return resized, jax.image.resize(images[1, :9, :7], shape, "linear", antialias=True)

    resized, expected = run(images, sizes, own)
    height, width = own[1]
    np.testing.assert_allclose(resized[1, :height, :width], expected, atol=1e-5)
    assert not np.asarray(resized)[1, height:].any()
    assert not np.asarray(resized)[1, :, width:].any()


@pytest.fixture
def run(tmp_path):
    """A run with seven validation images of four sizes and a network that looks at colours."""
    folder = Folder(tmp_path)
    sizes = [(16, 24), (17, 24), (24, 16), (16, 24), (18, 20), (24, 16), (16, 24)]
    rng = np.random.default_rng(3)
    for number, size in enumerate(sizes):
        folder.save(f"i/v{number}.png", rng.integers(0, 256, (*size, 3)))
        folder.save(f"m/v{number}.png", rng.integers(0, 3, size))
    folder.write("val.txt", "".join(f"i/v{n}.png m/v{n}.png\n" for n in range(len(sizes))))
    config = common.get_config()
    config.data.root = str(folder.root)
    config.data.labeled = config.data.unlabeled = "labeled.txt"
    config.data.val, config.data.num_classes = "val.txt", 3
    config.method.name, config.model.width = "supervised", 4
    config.eval.max_shapes, config.eval.pictures = 2, 1
    return dataclasses.replace(Run.build(config), evaluator=evaluator(sided_model, 3))


def test_a_run_pads_where_there_are_more_sizes_than_shapes(run):
    assert run.padded_shapes.sizes == ((24, 16), (18, 24))
    weights = COLORS[:, :3]
    padded = evaluate_confusion(run, weights)
    drawn = draw_predictions(run, weights)
    for changes in ({"max_shapes": 0}, {"max_shapes": 4}, {"mode": "sliding"}):
        other = dataclasses.replace(run, config=copy.deepcopy(run.config))
        other.config.eval.update(changes)
        assert not other.padded_shapes
        np.testing.assert_array_equal(evaluate_confusion(other, weights), padded)
        np.testing.assert_array_equal(draw_predictions(other, weights), drawn)
    assert padded.sum() == sum(run.partition.val[i]["label"].size for i in range(7))


def test_the_pictures_of_an_evaluation_are_spread_over_the_list(run):
    val, batches = run.partition.val, []

    def describe(weights, images, sizes):
        batches.append(np.asarray(images))
        return run.evaluator.describe(weights, images, sizes)

    seen = dataclasses.replace(run, config=copy.deepcopy(run.config))
    seen.config.eval.update({"pictures": 2, "max_shapes": 0})
    evaluator = types.SimpleNamespace(describe=describe)
    draw_predictions(dataclasses.replace(seen, evaluator=evaluator), COLORS[:, :3])
    shown = [image for images in batches for image in images]
    assert len(shown) == 2
    for image, index in zip(shown, (0, 3), strict=True):
        np.testing.assert_array_equal(image, val[index]["image"])
