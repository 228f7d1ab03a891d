import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from rcc_jax.distributed.meshes import make_mesh
from rcc_jax.errors import ConfigError
from rcc_jax.evaluation.evaluator import Evaluator
from rcc_jax.evaluation.scores import scores
from rcc_jax.evaluation.tta import window_spans

IMAGES = 5


@pytest.fixture(scope="module")
def oracle(oracles):
    with np.load(oracles / "evaluation.npz", allow_pickle=False) as file:
        return dict(file)


def weights(oracle):
    return {name[2:]: value for name, value in oracle.items() if name.startswith("w/")}


def batches(oracle):
    for index in range(IMAGES):
        yield {
            "image": oracle[f"img{index}"].transpose(0, 2, 3, 1),
            "label": oracle[f"label{index}"].astype(np.uint8),
        }


def tiny_model(variables, images):
    """The oracle's network: convolution, BatchNorm, ReLU, dilated convolution."""

    def convolve(x, kernel, dilation):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            [(dilation, dilation)] * 2,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "OIHW", "NHWC"),
            precision="highest",
        )

    def per_channel(name):
        return jnp.expand_dims(variables[name], (0, 1, 2))

    x = convolve(images, variables["conv1.weight"], 1) - per_channel("bn.running_mean")
    x = x / jnp.sqrt(per_channel("bn.running_var") + 1e-5)
    x = jax.nn.relu(x * per_channel("bn.weight") + per_channel("bn.bias"))
    return convolve(x, variables["conv2.weight"], 2) + per_channel("conv2.bias")


def color_model(variables, images):
    """Logits that depend only on the pixel, so that all windows agree."""
    return images.astype(jnp.float32) @ variables


def brute_force_sliding(predict, image, window, stride, *, cut=False):
    """Sums softmax over windows, the last of which are shifted back, or cut off."""
    height, width = image.shape[:2]

    def starts(length):
        shifted = {max(min(s, length - window), 0) for s in range(0, length, stride)}
        return range(0, length, stride) if cut else sorted(shifted)

    below, right = max(window - height, 0), max(window - width, 0)
    if not cut:
        image = np.pad(image, ((0, below), (0, right), (0, 0)))
    sums = None
    for top in starts(height):
        for left in starts(width):
            part = image[top : top + window, left : left + window]
            seen = np.asarray(jax.nn.softmax(predict(part[None])[0], axis=-1), np.float64)
            if sums is None:
                sums = np.zeros((*image.shape[:2], seen.shape[-1]))
            sums[top : top + window, left : left + window] += seen
    return sums[:height, :width].argmax(-1)


def test_whole_images_equal_the_oracle(oracle):
    evaluator = Evaluator(tiny_model, num_classes=19, mesh=make_mesh())
    confusion = evaluator.confusion(weights(oracle), batches(oracle))
    assert confusion.dtype == np.int64
    np.testing.assert_array_equal(np.diag(confusion), oracle["original/intersection"])
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    np.testing.assert_array_equal(union, oracle["original/union"])
    result = scores(confusion, [f"class {index}" for index in range(19)])
    np.testing.assert_allclose([*result.iou.values()], oracle["original/iou"], rtol=1e-12)
    np.testing.assert_allclose(result.miou, oracle["original/mIoU"], rtol=1e-12)
    predicted = evaluator.predictions(weights(oracle), next(batches(oracle))["image"])
    np.testing.assert_array_equal(predicted, oracle["original/pred0"])


def test_windows_cut_off_equal_the_oracle(oracle):
    """One of the images is as large as a window and one is narrower."""
    evaluator = Evaluator(
        tiny_model,
        num_classes=19,
        mesh=make_mesh(),
        mode="sliding",
        window=33,
        stride=22,
        windows="cut",
    )
    for index, batch in enumerate(batches(oracle)):
        found = evaluator.predictions(weights(oracle), batch["image"])
        np.testing.assert_array_equal(found, oracle[f"sliding_window/pred{index}"])
    confusion = evaluator.confusion(weights(oracle), batches(oracle))
    np.testing.assert_array_equal(np.diag(confusion), oracle["sliding_window/intersection"])
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    np.testing.assert_array_equal(union, oracle["sliding_window/union"])


def test_sliding_windows_shifted_back_equal_a_loop(oracle):
    evaluator = Evaluator(
        tiny_model, num_classes=19, mesh=make_mesh(), mode="sliding", window=33, stride=22
    )
    predict = jax.jit(lambda images: tiny_model(weights(oracle), images))
    confusion = np.zeros((19, 19), np.int64)
    for batch in batches(oracle):
        image, truth = batch["image"][0], batch["label"][0]
        expected = brute_force_sliding(predict, image, 33, 22)
        found = evaluator.predictions(weights(oracle), batch["image"])[0]
        np.testing.assert_array_equal(found, expected)
        valid = truth != 255
        np.add.at(confusion, (truth[valid], expected[valid]), 1)
    np.testing.assert_array_equal(evaluator.confusion(weights(oracle), batches(oracle)), confusion)


def random_batches(count=2, size=(12, 20), rows=3):
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield {
            "image": rng.integers(0, 256, (rows, *size, 3), np.uint8),
            "label": rng.choice([0, 1, 2, 3, 255], (rows, *size)).astype(np.uint8),
        }


COLORS = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
SLIDING = {"mode": "sliding", "window": 8, "stride": 5}
CUT = {**SLIDING, "windows": "cut"}


@pytest.mark.parametrize("mode", [SLIDING, CUT], ids=["shifted", "cut"])
def test_windows_of_a_network_that_sees_neighbours_equal_a_loop(mode):
    rng = np.random.default_rng(2)
    kernels = [rng.normal(size=(3, 3, *size)).astype(np.float32) for size in ((3, 5), (5, 4))]

    def network(kernels, images):
        x = images.astype(jnp.float32) / 255
        for kernel in kernels:
            x = jnp.tanh(jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            ))  # fmt: skip
        return 8 * x

    evaluator = Evaluator(network, num_classes=4, mesh=make_mesh(), **mode)
    predict = jax.jit(lambda images: network(kernels, images))
    cut = mode.get("windows") == "cut"
    for batch in random_batches(size=(21, 14), rows=1):
        expected = brute_force_sliding(predict, batch["image"][0], 8, 5, cut=cut)
        found = evaluator.predictions(kernels, batch["image"])[0]
        assert (found == expected).mean() > 0.99
        whole = np.asarray(predict(batch["image"])).argmax(-1)[0]
        assert (whole == expected).mean() < 0.99


@pytest.mark.parametrize("mode", [{}, SLIDING, CUT], ids=["whole", "sliding", "cut"])
def test_counts_do_not_depend_on_devices_or_padding(mode):
    expected = np.zeros((4, 4), np.int64)
    for batch in random_batches():
        labels, valid = (batch["image"] @ COLORS).argmax(-1), batch["label"] < 255
        np.add.at(expected, (batch["label"][valid], labels[valid]), 1)
    one = jax.make_mesh((1,), ("data",), (AxisType.Auto,), devices=jax.devices()[:1])
    for mesh in (one, make_mesh()):
        evaluator = Evaluator(color_model, num_classes=4, mesh=mesh, **mode)
        np.testing.assert_array_equal(evaluator.confusion(COLORS, random_batches()), expected)


@pytest.mark.parametrize(("mode", "traces"), [({}, 3), (SLIDING, 1)], ids=["whole", "sliding"])
def test_network_compiles_once_a_size_or_once_a_window(mode, traces):
    calls = []

    def predict(variables, images):
        calls.append(images.shape)
        return color_model(variables, images)

    evaluator = Evaluator(predict, num_classes=4, mesh=make_mesh(), **mode)
    for size in ((12, 20), (5, 9), (16, 6), (12, 20)):
        evaluator.confusion(COLORS, random_batches(size=size))
    assert len(calls) == traces


def test_counting_of_many_classes_is_exact():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (8, 64, 64)).astype(np.uint8)
    shown = rng.integers(0, 255, (8, 64, 64, 1)).astype(np.uint8)
    evaluator = Evaluator(
        lambda _, images: jax.nn.one_hot(images[..., 0], 255), num_classes=255, mesh=make_mesh()
    )
    expected = np.zeros((255, 255), np.int64)
    valid = truth < 255
    np.add.at(expected, (truth[valid], shown[..., 0][valid]), 1)
    batch = {"image": shown, "label": truth}
    np.testing.assert_array_equal(evaluator.confusion((), [batch] * 6), 6 * expected)


def test_stops_between_batches():
    evaluator = Evaluator(color_model, num_classes=4, mesh=make_mesh())
    answers = iter([False, True])
    assert evaluator.confusion(COLORS, random_batches(), should_stop=lambda: next(answers)) is None


@pytest.mark.parametrize(("windows", "width"), [("cut", 6), ("shifted", 8)])
def test_an_image_smaller_than_a_window(windows, width):
    """With 'cut' it keeps its size; with 'shifted' it is padded to the size of a window."""
    seen = set()

    def predict(variables, images):
        seen.add(images.shape[1:3])
        return color_model(variables, images)

    options = {**SLIDING, "window": 8, "stride": 8, "windows": windows}
    evaluator = Evaluator(predict, num_classes=4, mesh=make_mesh(), **options)
    images = next(random_batches(size=(8, 6)))["image"]
    np.testing.assert_array_equal(
        evaluator.predictions(COLORS, images), (images @ COLORS).argmax(-1)
    )
    assert seen == {(8, width)}


def test_windows_cover_every_pixel():
    def starts(*arguments):
        return [start for start, _ in window_spans(*arguments, cut=False)]

    assert window_spans(7, 8, 5, cut=False) == window_spans(8, 8, 5, cut=False) == [(0, 8)]
    assert starts(18, 8, 5) == [0, 5, 10]
    assert starts(19, 8, 5) == [0, 5, 10, 11]
    assert window_spans(1024, 801, 534, cut=False) == [(0, 801), (223, 801)]
    assert window_spans(1024, 801, 534, cut=True) == [(0, 801), (534, 490)]
    assert window_spans(2048, 801, 534, cut=True)[-1] == (1602, 446)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"mode": "windows"}, "eval.mode"),
        ({"mode": "sliding", "stride": 4}, "eval.window"),
        ({"mode": "sliding", "window": 8}, "eval.stride"),
        ({"mode": "sliding", "window": 8, "stride": 9}, "eval.stride=9"),
        ({**SLIDING, "windows": "moved"}, "eval.windows='moved'"),
        ({**CUT, "size_multiple": 4}, "eval.windows = 'cut'.* use config.eval.windows=shifted"),
        ({**SLIDING, "size_multiple": 14}, "eval.window = 8: .*multiples of 14 pixels; use 14"),
        ({**SLIDING, "size_multiple": 3}, "eval.window = 8: .*use 6 or 9"),
    ],
)
def test_unusable_settings(arguments, named):
    with pytest.raises(ConfigError, match=named):
        Evaluator(color_model, num_classes=4, mesh=make_mesh(), **arguments)


def test_scores_skip_empty_unions_and_list_absent_classes():
    confusion = np.array([[6, 2, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    confusion[0, 3] = 2
    result = scores(confusion, ["road", "car", "boat", "sky"])
    np.testing.assert_allclose([*result.iou.values()], [60, 100 * 4 / 6, np.nan, 0])
    np.testing.assert_allclose(result.miou, (60 + 100 * 4 / 6 + 0) / 3)
    np.testing.assert_allclose(result.accuracy, 100 * 10 / 14)
    assert list(result.iou) == ["road", "car", "boat", "sky"]
    assert result.absent == ("boat", "sky")
    lines = [line.split() for line in result.table().splitlines()]
    assert lines[1] == ["car", "66.67"]
    assert " ".join(lines[2]) == "boat - not in the ground truth, does not count"
    assert " ".join(lines[3]) == "sky 0.00 not in the ground truth, but predicted: counts as 0"
    assert " ".join(lines[4]) == "mIoU 42.22 over 3 of 4 classes"


def test_scores_of_nothing_are_nan():
    result = scores(np.zeros((2, 2), np.int64), ["a", "b"])
    assert np.isnan([result.miou, result.accuracy, *result.iou.values()]).all()


@pytest.mark.parametrize("names", [["a"], ["a", "a"]])
def test_scores_need_a_name_a_class(names):
    with pytest.raises(ValueError, match="2 classes"):
        scores(np.eye(2, dtype=np.int64), names)
