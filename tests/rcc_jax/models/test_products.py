"""Products and their gradients, in bfloat16 and float32, against plain ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.distributed import meshes
from rcc_jax.models import products

FORMS = {
    "product": (products.product, lambda a, b: a @ b, (3, 7, 5), (3, 5, 6)),
    "one matrix for all": (products.product, lambda a, b: a @ b, (3, 7, 5), (5, 6)),
    "many rows": (products.product, lambda a, b: a @ b, (4, 64, 300), (300, 6)),
    "many rows, odd": (products.product, lambda a, b: a @ b, (4, 64, 301), (301, 6)),
    "wide left": (products.product, lambda a, b: a @ b, (7, 9), (9, 4)),
    "transposed right": (
        products.product_with_transposed,
        lambda a, b: a @ np.swapaxes(b, -1, -2),
        (2, 3, 7, 5),
        (2, 3, 6, 5),
    ),
    "transposed left": (
        products.transposed_product,
        lambda a, b: np.swapaxes(a, -1, -2) @ b,
        (7, 5),
        (7, 9),
    ),
    "transposed left, wide": (
        products.transposed_product,
        lambda a, b: np.swapaxes(a, -1, -2) @ b,
        (7, 9),
        (7, 5),
    ),
}


def drawn(shape, seed):
    values = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(jnp.asarray(values, jnp.bfloat16).astype(jnp.float32))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_products_and_their_gradients(form, dtype):
    function, plain, *shapes = FORMS[form]
    values = [drawn(shape, seed) for seed, shape in enumerate(shapes)]
    factor = drawn(plain(*values).shape, 9)
    left, right = (jnp.asarray(x, dtype) for x in values)

    def loss(a, b):
        return jnp.sum(function(a, b).astype(jnp.float32) * factor)

    tolerance = (
        {"rtol": 0.02, "atol": 0.04} if dtype == jnp.bfloat16 else {"rtol": 2e-6, "atol": 1e-5}
    )
    found = function(left, right)
    assert found.dtype == dtype
    np.testing.assert_allclose(found.astype(jnp.float32), plain(*values), **tolerance)
    # Of a bilinear form the gradient is the form itself with the factor in one place.
    _, pull = jax.vjp(lambda a, b: jnp.sum(plain_in_jax(form, a, b) * factor), *values)
    for gradient, expected in zip(
        jax.grad(loss, argnums=(0, 1))(left, right), pull(jnp.ones(())), strict=True
    ):
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient.astype(jnp.float32), expected, **tolerance)


def plain_in_jax(form, a, b):
    if form == "transposed right":
        return a @ jnp.swapaxes(b, -1, -2)
    return jnp.swapaxes(a, -1, -2) @ b if form.startswith("transposed left") else a @ b


@pytest.mark.parametrize("rows", [8, 30_000])
def test_gradients_of_a_bias_in_float32(rows):
    """By a sum and, with many numbers, by a product."""
    x, factor = (drawn((rows, 3), seed) for seed in (0, 1))
    found = jax.grad(lambda x, b: jnp.sum(products.add_bias(x, b) * factor), (0, 1))(x, jnp.ones(3))
    np.testing.assert_array_equal(found[0], factor)
    np.testing.assert_allclose(found[1], factor.sum(0, dtype=np.float64), rtol=1e-4)
    assert products.add_bias(x, jnp.ones(3))[0].tolist() == (x[0] + 1).tolist()


def test_gradient_of_a_bias_is_summed_in_float32():
    # In bfloat16, 256 + 1 = 256.
    x = jnp.zeros((2, 300, 3), jnp.bfloat16)
    gradient = jax.grad(lambda b: jnp.sum(products.add_bias(x, b).astype(jnp.float32)))(
        jnp.zeros(3, jnp.bfloat16)
    )
    assert gradient.tolist() == [600, 600, 600]


def test_rows_on_several_devices_give_the_gradients_of_one():
    rng = np.random.default_rng(0)
    left, right = (rng.normal(size=shape).astype(np.float32) for shape in ((512, 256), (256, 6)))
    left /= 16  # Products of about 1, whose sines keep their rounding small.
    mesh = meshes.make_mesh()
    assert mesh.size == 8

    @jax.jit
    def gradients(a, b):
        return jax.grad(lambda a, b: jnp.sum(jnp.sin(products.product(a, b))), (0, 1))(a, b)

    alone, spread = gradients(left, right), gradients(meshes.place_batch(mesh, left), right)
    assert len(spread[0].sharding.device_set) == 8
    for found, expected in zip(spread, alone, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_large_matrix_is_turned_apart_from_what_makes_it():
    """Otherwise the step takes a tenth to a quarter more time on a CPU."""
    left, right = jnp.ones((512, 256)), jnp.ones((256, 6))

    def loss(a, b):
        return jnp.sum(jnp.square(products.product(jnp.sin(a), b)))

    assert " while(" in jax.jit(jax.grad(loss, 1)).lower(left, right).compile().as_text()
    assert " while(" not in jax.jit(loss).lower(left, right).compile().as_text()


def test_a_gradient_in_bfloat16_is_turned_once():
    """Otherwise the optimizer turns it for each of its moments."""
    left, right = (jnp.ones(shape, jnp.bfloat16) for shape in ((7, 9), (9, 4)))

    def loss(right):
        return jnp.sum(products.product(left, right).astype(jnp.float32))

    # Of the operand, and of what the product with it gives.
    assert jax.jit(jax.grad(loss)).lower(right).as_text().count("optimization_barrier") == 2
