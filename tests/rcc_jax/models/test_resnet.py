"""Padding, pooling, dilation, sizes and initial values of the residual networks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rcc_jax.models.layers import Conv
from rcc_jax.models.resnet import ResNet


def abstract(name, stem="v1", **arguments):
    return nnx.eval_shape(lambda: ResNet(name, stem, **arguments, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("size", [8, 9])
def test_strided_convolution_pads_both_sides_alike(size):
    """A kernel that copies its centre picks pixels 0, 2, 4, ...; XLA's 'SAME' would pick 1, 3."""
    conv = Conv(1, 1, 3, stride=2, dtype=jnp.float32)
    conv.kernel[...] = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
    x = jnp.arange(float(size * size)).reshape(1, size, size, 1)
    np.testing.assert_array_equal(conv(x), x[:, ::2, ::2])


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 6), (7, 1)])
def test_convolution_keeps_the_size_at_stride_one(kernel, dilation):
    result = jax.eval_shape(
        lambda x: Conv(2, 3, kernel, dilation=dilation, dtype=jnp.float32)(x),
        jax.ShapeDtypeStruct((1, 5, 8, 2), jnp.float32),
    )
    assert result.shape == (1, 5, 8, 3)


@pytest.mark.parametrize("name", ["resnet10", "resnet18", "resnet50"])
@pytest.mark.parametrize(("output_stride", "sizes"), [(16, (17, 9, 5, 5)), (8, (17, 9, 9, 9))])
def test_sizes_and_channels_of_the_stages(name, output_stride, sizes):
    stages = jax.eval_shape(
        lambda x: ResNet(name, "v1", output_stride=output_stride, rngs=nnx.Rngs(0))(x, train=False),
        jax.ShapeDtypeStruct((1, 65, 65, 3), jnp.float32),
    )
    expansion = {"resnet10": 1, "resnet18": 1, "resnet50": 4}[name]
    expected = [(1, size, size, 64 * 2**i * expansion) for i, size in enumerate(sizes)]
    assert [stage.shape for stage in stages] == expected


@pytest.mark.parametrize("name", ["resnet34", "resnet50"])
def test_first_block_of_a_dilated_stage_keeps_the_dilation_before(name):
    def dilations(output_stride):
        model = abstract(name, output_stride=output_stride)
        return [[b.conv2.dilation for b in s] for s in (model.layer3, model.layer4)]

    assert dilations(16) == [[1] * 6, [1, 2, 2]]
    assert dilations(8) == [[1] + [2] * 5, [2, 4, 4]]


def test_basic_block_strides_and_dilates_its_first_convolution():
    model = abstract("resnet18")
    assert [b.conv1.stride for b in model.layer2] == [2, 1]
    assert [b.conv1.dilation for b in model.layer4] == [1, 2]


def test_bottleneck_strides_on_the_3x3():
    block = abstract("resnet50").layer2[0]
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == (1, 2, 1)


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 11_176_512), ("resnet34", 21_284_672), ("resnet50", 23_508_032)],
)
def test_parameter_count_is_torchvision_s_without_fc(name, count):
    params = nnx.state(abstract(name), nnx.Param)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == count


def test_kernels_start_he_normal_by_fan_out():
    model = ResNet("resnet18", "deep", width=16, rngs=nnx.Rngs(0))
    convs = [node for _, node in nnx.iter_graph(model) if isinstance(node, Conv)]
    assert len(convs) == 3 + 16 + 4
    for conv in convs:
        kernel = np.asarray(conv.kernel[...])
        height, width, _, out_features = kernel.shape
        std = math.sqrt(2 / (height * width * out_features))
        np.testing.assert_allclose(kernel.std(), std, rtol=3 / math.sqrt(kernel.size))
        np.testing.assert_allclose(kernel.mean(), 0, atol=5 * std / math.sqrt(kernel.size))
    large = np.asarray(model.layer4[1].conv2.kernel[...])
    assert 4 < np.abs(large).max() / large.std() < 6.5  # tails of a normal distribution
    # Different kernels and different seeds have different numbers.
    other = np.asarray(model.layer4[1].conv1.kernel[...])
    assert abs(np.corrcoef(large.ravel(), other.ravel())[0, 1]) < 0.05
    again = ResNet("resnet18", "deep", width=16, rngs=nnx.Rngs(1)).layer4[1].conv2.kernel[...]
    assert abs(np.corrcoef(large.ravel(), np.ravel(again))[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet5"}, "backbone is 'resnet5'; use one of resnet10, resnet18, resnet34"),
        ({"stem": "v2"}, "stem is 'v2'; use one of v1, deep"),
        ({"output_stride": 32}, "output_stride is 32; use one of 16, 8"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**{"name": "resnet18", "stem": "v1"} | arguments, rngs=nnx.Rngs(0))
