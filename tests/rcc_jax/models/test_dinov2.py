"""DINOv2 with its head: sizes, positions, types, and a recorded run of PyTorch."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rcc_jax.models import positions, transformer
from rcc_jax.models.dinov2_dpt import DinoV2DPT
from rcc_jax.models.torch_names import from_torch_layout, named_variables, torch_shape
from tests.support import dinov2_record as record
from tests.support import tiny_vit


def abstract(backbone, num_classes=21):
    return nnx.eval_shape(lambda: DinoV2DPT(num_classes, backbone, rngs=nnx.Rngs(0)))


def images(height=28, width=42):
    return jnp.asarray(np.random.default_rng(7).standard_normal((2, height, width, 3)), jnp.float32)


@pytest.mark.parametrize(
    ("backbone", "encoder", "head"),
    # Without the tensors that no output depends on.
    [
        ("dinov2_small", 22_056_192, 2_665_205),
        ("dinov2_base", 86_579_712, None),
        ("dinov2_large", 304_367_616, None),
    ],
)
def test_numbers_of_parameters_are_those_of_the_files(backbone, encoder, head):
    found = {"backbone": 0, "head": 0}
    for name, variable in named_variables(abstract(backbone)).items():
        found[name.split(".")[0]] += int(np.prod(variable.shape))
    assert found["backbone"] == encoder
    assert head is None or found["head"] == head


@pytest.mark.slow
def test_recorded_run_of_pytorch_at_full_size():
    with jax.enable_x64(True):
        model = tiny_vit.build(
            num_classes=record.NUM_CLASSES,
            backbone=record.BACKBONE,
            size=None,
            dtype=jnp.float64,
        )
        variables = named_variables(model)
        drawn = record.draw({name: torch_shape(value) for name, value in variables.items()})
        for name, variable in variables.items():
            variable.set_value(jnp.asarray(from_torch_layout(drawn[name])))
        graphdef, params = nnx.split(model)

        @jax.jit
        def run(params, x):
            model = nnx.merge(graphdef, params)
            features = model.encode(x, train=False)
            return features, model.decode(features, x.shape[1:3], train=False)

        features, logits = run(params, jnp.asarray(record.images()))
        features = [np.asarray(x).reshape(1, -1, x.shape[-1]) for x in features]
    recorded = json.loads(record.PATH.read_text())
    for name, values in record.summary(features, np.asarray(logits)).items():
        np.testing.assert_allclose(values, recorded[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_positions():
    table = jnp.asarray(np.random.default_rng(0).standard_normal((5, 5, 3)), jnp.float32)
    assert positions.resize_positions(table, (5, 5), offset=0.1) is table
    matrix = np.asarray(positions.bicubic_matrix(37, 57, offset=0.1))
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)
    assert ((matrix != 0).sum(axis=1) <= 4).all()
    # One side of the table's own size: both axes are interpolated, as in DINOv2.
    found = positions.resize_positions(table, (5, 3), offset=0.1)
    rows, columns = (positions.bicubic_matrix(5, size, offset=0.1) for size in (5, 3))
    np.testing.assert_allclose(found, np.einsum("pr,qc,rcd->pqd", rows, columns, table), atol=1e-5)
    assert (
        np.abs(np.asarray(found - positions.resize_positions(table, (5, 3), offset=0))).max() > 0.01
    )


def test_rematerialised_blocks_have_the_same_gradient():
    size = dataclasses.replace(tiny_vit.SIZE, depth=1, levels=(0, 0, 0, 0))

    def gradient(**arguments):
        graphdef, params = nnx.split(tiny_vit.build(size=size, **arguments).backbone)
        loss = jax.jit(
            jax.grad(lambda params: jnp.sum(nnx.merge(graphdef, params)(images())[0] ** 2))
        )
        return nnx.to_pure_dict(loss(params))

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3),
        gradient(remat=True),
        gradient(),
    )


def test_bfloat16_is_near_float32():
    def logits(**arguments):
        graphdef, params = nnx.split(tiny_vit.build(**arguments))
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
        return jax.jit(lambda params: nnx.merge(graphdef, params)(images(), train=False))(params)

    plain, half = logits(), logits(dtype=jnp.bfloat16)
    assert plain.shape == (2, 28, 42, tiny_vit.NUM_CLASSES)
    assert half.dtype == jnp.float32
    assert 0 < np.abs(half - plain).max() < 0.05 * np.ptp(plain)


def test_faulty_arguments_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r"28, 40.*multiples of 14"):
        tiny_vit.build()(images(28, 40), train=False)
    with pytest.raises(ValueError, match="dinov2_small, dinov2_base"):
        DinoV2DPT(5, "dinov2_tiny", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="at least 1"):
        abstract("dinov2_small", 0)


def test_initial_weights_are_drawn():
    model = jax.jit(lambda: nnx.state(DinoV2DPT(3, size=tiny_vit.SIZE, rngs=nnx.Rngs(0))))()
    params = nnx.to_pure_dict(model)
    block = params["backbone"]["blocks"][0]
    assert 0.01 < np.std(block["attn"]["qkv"]["kernel"]) < 0.02
    assert not np.any(block["attn"]["qkv"]["bias"])
    assert (np.asarray(block["ls1"]) == 1).all()
    enlarge = np.asarray(params["head"]["enlarge"][0]["kernel"])  # [4, 4, out, in]
    assert 0.9 < np.abs(enlarge).max() * np.sqrt(4 * 4 * enlarge.shape[2]) <= 1


@pytest.mark.parametrize("derivative", [0, 1])
def test_gelu_is_the_exact_one(derivative):
    x = np.linspace(-8, 8, 321)
    with jax.enable_x64(True):
        ours, plain = transformer.gelu, functools.partial(jax.nn.gelu, approximate=False)
        if derivative:
            ours, plain = (jax.vmap(jax.grad(each)) for each in (ours, plain))
        np.testing.assert_allclose(jax.jit(ours)(x), jax.jit(plain)(x), atol=1e-14)


@pytest.mark.parametrize("scale", [1, 300])
def test_attention_and_its_gradients_are_those_of_a_softmax(scale):
    """Also where the exponential of a logit would be infinite."""
    query, key, value = np.random.default_rng(0).normal(size=(3, 2, 5, 3, 4))

    def plain(q, k, v):
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 2, axis=-1)
        return jnp.einsum("bhqk,bkhd->bqhd", weights, v)

    def with_gradients(attend):
        return jax.jit(
            jax.value_and_grad(lambda *given: jnp.sum(jnp.sin(attend(*given))), argnums=(0, 1, 2))
        )

    with jax.enable_x64(True):
        given = (scale * query, scale * key, value)
        found, expected = (with_gradients(each)(*given) for each in (transformer.attend, plain))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
