"""The forms of the convolution: equal to XLA's, chosen by platform."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.models import winograd
from rcc_jax.models.conv import convolve

GEOMETRIES = [
    (kernel, stride, dilation)
    for kernel in (1, 3)
    for stride in (1, 2)
    for dilation in (1, 2, 6, 18)
    if kernel > 1 or dilation == 1
]


def _convolution(x, kernel, stride, dilation):
    padding = dilation * (kernel.shape[0] // 2)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.jit, static_argnums=0)
def _with_gradients(convolution, x, kernel):
    y, pull_back = jax.vjp(convolution, x, kernel)
    return y, *pull_back(jnp.asarray(np.sin(np.arange(y.size)), y.dtype).reshape(y.shape))


@pytest.mark.parametrize("size", [(7, 20), (1, 4)])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), GEOMETRIES)
def test_values_and_gradients_are_those_of_the_convolution(kernel, stride, dilation, size):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(2, *size, 5)))
        weights = jnp.asarray(rng.normal(size=(kernel, kernel, 5, 3)))
        found = _with_gradients(
            lambda x, k: convolve(x, k, stride=stride, dilation=dilation), x, weights
        )
        expected = _with_gradients(lambda x, k: _convolution(x, k, stride, dilation), x, weights)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(4, 8), (5, 11), (1, 2)])
def test_a_wide_kernel_has_the_gradients_of_the_convolution(size):
    """Sizes that tiles of 4 x 4 fill, and sizes that they do not."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(3, *size, 64)))
        weights = jnp.asarray(rng.normal(size=(3, 3, 64, 80)))
        found = _with_gradients(convolve, x, weights)
        expected = _with_gradients(lambda x, k: _convolution(x, k, 1, 1), x, weights)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)
        assert "stablehlo.convolution" not in _with_gradients.lower(convolve, x, weights).as_text()


def test_tiles_of_several_groups_of_images_in_float32(monkeypatch):
    """The outputs differ from the convolution's by less than 1e-5 of the largest."""
    monkeypatch.setattr(winograd, "_BYTES", 2 * 36 * 9 * 304 * 4)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 9, 12, 304)).astype(np.float32)
    weights = rng.normal(size=(3, 3, 304, 32)).astype(np.float32)
    assert winograd._groups(x, 304).shape[:2] == (2, 2)
    found = _with_gradients(convolve, x, weights)
    with jax.enable_x64(True):
        exact = _with_gradients(
            lambda x, k: _convolution(x, k, 1, 1), *(a.astype(np.float64) for a in (x, weights))
        )
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == np.float32
        assert abs(ours - np.asarray(theirs)).max() < 1e-5 * abs(np.asarray(theirs)).max()


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(1, 1, 1), (3, 1, 6), (3, 2, 1)])
def test_products_of_many_channels_in_float32(kernel, stride, dilation):
    """As in ASPP and a ResNet's stages: the same bound as for tiles."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 11, 11, 512)).astype(np.float32)
    weights = rng.normal(size=(kernel, kernel, 512, 64)).astype(np.float32)
    found = _with_gradients(
        lambda x, k: convolve(x, k, stride=stride, dilation=dilation), x, weights
    )
    with jax.enable_x64(True):
        exact = _with_gradients(
            lambda x, k: _convolution(x, k, stride, dilation),
            *(a.astype(np.float64) for a in (x, weights)),
        )
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == np.float32
        assert abs(ours - np.asarray(theirs)).max() < 1e-5 * abs(np.asarray(theirs)).max()


def test_a_wide_kernel_in_bfloat16_has_its_tiles_in_float32():
    """The outputs differ by little more than their own rounding, 1 / 256."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 4, 5, 64)), jnp.bfloat16)
    weights = jnp.asarray(rng.normal(size=(3, 3, 64, 64)), jnp.bfloat16)
    found = _with_gradients(convolve, x, weights)
    expected = _with_gradients(
        lambda x, k: _convolution(x, k, 1, 1), *(a.astype(jnp.float32) for a in (x, weights))
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == jnp.bfloat16
        assert abs(ours - theirs).max() < 0.004 * abs(theirs).max()


def _program(dtype=jnp.float32, **geometry):
    size = 3 if geometry.get("dilation", 1) > 1 else 1
    arrays = jnp.zeros((1, 8, 8, 2), dtype), jnp.zeros((size, size, 2, 2), dtype)
    return jax.jit(lambda x, kernel: convolve(x, kernel, **geometry)).lower(*arrays).as_text()


@pytest.mark.parametrize("geometry", [{}, {"stride": 2}, {"dilation": 2}])
def test_a_cpu_multiplies_and_others_convolve(geometry, monkeypatch):
    assert "convolution" not in _program(**geometry)
    # Nine products in bfloat16 would round nine times.
    assert ("convolution" in _program(jnp.bfloat16, **geometry)) == ("dilation" in geometry)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    program = _program(**geometry)
    assert "convolution" in program
    assert "dot_general" not in program


def test_taps_in_the_padding_cost_nothing():
    """With a dilation as large as the map, only the centre tap sees pixels."""
    assert _program(dilation=7).count("dot_general") == 9
    assert _program(dilation=8).count("dot_general") == 1


def test_sizes_may_be_symbolic():
    batch, height = jax.export.symbolic_shape("b, h")
    shape = jax.ShapeDtypeStruct((batch, height, height, 2), jnp.float32)
    kernel = jnp.ones((3, 3, 2, 4))
    exported = jax.export.export(jax.jit(lambda x: convolve(x, kernel, dilation=6)))(shape)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 9, 2)), jnp.float32)
    np.testing.assert_allclose(
        exported.call(x), convolve(x, kernel, dilation=6), rtol=1e-5, atol=1e-5
    )
