"""Bilinear resizing against a brute-force loop over output pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from rcc_jax.models.network import nearest_multiple
from rcc_jax.models.resize import interpolation_matrix, resize_bilinear

resize = jax.jit(resize_bilinear, static_argnums=1)


def brute_force(image, height, width):
    """Align-corners bilinear interpolation of [H, W, C] in float64, pixel by pixel."""
    in_height, in_width, _ = image.shape
    result = np.zeros((height, width, image.shape[2]))
    for y in range(height):
        for x in range(width):
            v = y * (in_height - 1) / (height - 1) if height > 1 else 0.0
            u = x * (in_width - 1) / (width - 1) if width > 1 else 0.0
            top, left = min(int(v), in_height - 1), min(int(u), in_width - 1)
            bottom, right = min(top + 1, in_height - 1), min(left + 1, in_width - 1)
            a, b = v - top, u - left
            result[y, x] = (1 - a) * ((1 - b) * image[top, left] + b * image[top, right]) + a * (
                (1 - b) * image[bottom, left] + b * image[bottom, right]
            )
    return result


SIZES = [
    ((5, 7), (17, 13)),
    ((9, 4), (9, 4)),
    ((17, 12), (5, 7)),
    ((1, 1), (4, 3)),
    ((6, 1), (3, 5)),
    ((5, 8), (1, 1)),
    ((2, 3), (2, 65)),
]


@pytest.mark.parametrize(("in_size", "out_size"), SIZES)
def test_equals_brute_force(in_size, out_size):
    images = np.random.default_rng(0).standard_normal((2, *in_size, 3)).astype(np.float32)
    expected = np.stack([brute_force(image, *out_size) for image in images])
    result = resize(images, out_size)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, atol=2e-6)


@pytest.mark.parametrize(("in_size", "out_size"), SIZES[::2])
def test_gradient_is_the_transpose(in_size, out_size):
    """d<c, resize(x)>/dx_i is <c, resize(e_i)>, with resize(e_i) from the brute force."""
    rng = np.random.default_rng(1)
    cotangent = rng.standard_normal((1, *out_size, 1)).astype(np.float32)
    image = jnp.asarray(rng.standard_normal((1, *in_size, 1)), jnp.float32)
    gradient = jax.jit(jax.grad(lambda x: jnp.vdot(cotangent, resize(x, out_size))))(image)
    expected = np.zeros(in_size)
    for index in np.ndindex(*in_size):
        unit = np.zeros((*in_size, 1))
        unit[index] = 1
        expected[index] = np.sum(cotangent[0] * brute_force(unit, *out_size))
    np.testing.assert_allclose(gradient[0, :, :, 0], expected, atol=1e-5)


def test_weights_are_exact_at_both_ends():
    """No pair of sizes pushes the last sample over the edge by rounding."""
    for in_size, out_size in ((129, 513), (7, 50), (3, 8000)):
        matrix = np.asarray(jax.jit(interpolation_matrix, static_argnums=(0, 1))(in_size, out_size))
        np.testing.assert_array_equal(matrix[0], np.eye(in_size)[0])
        np.testing.assert_array_equal(matrix[-1], np.eye(in_size)[-1])
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-7)
        assert ((matrix > 0).sum(axis=1) <= 2).all()
        assert (matrix >= 0).all()


def test_bfloat16_is_interpolated_in_float32():
    images = jnp.asarray(np.random.default_rng(2).standard_normal((1, 5, 6, 2)), jnp.bfloat16)
    result = resize(images, (16, 21))
    exact = resize(images.astype(jnp.float32), (16, 21))
    assert result.dtype == jnp.bfloat16
    np.testing.assert_array_equal(result, exact.astype(jnp.bfloat16))


def test_symbolic_sizes_export():
    batch, height, width = export.symbolic_shape("b, h, w")
    resize = jax.jit(lambda x: resize_bilinear(x, (2 * x.shape[1] + 1, 9)))
    exported = export.export(resize)(jax.ShapeDtypeStruct((batch, height, width, 3), jnp.float32))
    for shape in ((1, 1, 1, 3), (2, 6, 11, 3)):
        images = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
        np.testing.assert_allclose(exported.call(images), resize(images), atol=1e-6)


def test_the_nearest_multiple_of_a_symbolic_length_is_never_0():
    (length,) = export.symbolic_shape("length")
    exported = export.export(jax.jit(lambda x: jnp.zeros(nearest_multiple(x.shape[0], 14))))(
        jax.ShapeDtypeStruct((length,), jnp.float32)
    )
    found = [len(exported.call(jnp.zeros(size))) for size in (1, 3, 6, 7, 20, 21)]
    assert found == [14, 14, 14, 14, 14, 28]
