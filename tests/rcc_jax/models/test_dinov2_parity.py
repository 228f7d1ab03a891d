"""DINOv2 and its DPT head against transformers and torch, in float64 with random weights.

Needs torch and transformers: pip install 'rcc_jax[parity]'.
"""

import dataclasses
import re

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from rcc_jax.models import positions
from rcc_jax.models.dinov2 import SIZES
from rcc_jax.models.network import normalize
from rcc_jax.models.pretrained import load_torch
from rcc_jax.models.torch_names import named_variables, to_torch_layout
from tests.support import tiny_vit

torch = pytest.importorskip("torch", reason="optional: PyTorch is not installed")
transformers = pytest.importorskip("transformers", reason="optional: no transformers")

SIDE = 37  # 518 pixels.
SIZE = dataclasses.replace(tiny_vit.SIZE, side=SIDE)


def images(height, width):
    return np.random.default_rng(7).standard_normal((1, height, width, 3))


@pytest.fixture(scope="module")
def theirs():
    from tests.support.torch_dinov2 import Theirs

    return Theirs(SIZE, tiny_vit.NUM_CLASSES)


@pytest.fixture(scope="module")
def ours(theirs, tmp_path_factory):
    """Our network with their weights, read from a file."""
    path = tmp_path_factory.mktemp("weights") / "network.npz"
    np.savez(path, **theirs.official(theirs.used()))
    with jax.enable_x64(True):
        model = tiny_vit.build(dtype=jnp.float64, size=SIZE, position_offset=0.0)
        summary = load_torch(model, path, allow_unused=())
    assert (summary.covers, summary.missing) == ("network", ())
    return model


def assert_near(found, expected, limit=1e-9):
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(np.asarray(found) - expected).max() < limit * max(1, np.abs(expected).max())


# At 518 pixels the positions are the table itself.
@pytest.mark.parametrize("size", [pytest.param((518, 518), marks=pytest.mark.slow), (42, 70)])
def test_encoder_neck_head_and_gradients(theirs, ours, size):
    x = images(*size)
    weights = np.random.default_rng(8).standard_normal((*size, tiny_vit.NUM_CLASSES))
    their_features, their_fused, their_logits = theirs(torch.from_numpy(x).permute(0, 3, 1, 2))
    theirs.zero_grad()
    (their_logits[0].permute(1, 2, 0) * torch.from_numpy(weights)).mean().backward()
    grads = {k: v.grad for k, v in theirs.used().items()}
    with jax.enable_x64(True):
        graphdef, params = nnx.split(ours)

        @jax.jit
        def run(params):
            def loss(params):
                model = nnx.merge(graphdef, params)
                features = model.encode(jnp.asarray(x), train=True)
                logits = model.decode(features, size, train=True)
                return jnp.mean(logits[0] * weights), (features, model.head.fuse(features), logits)

            return jax.grad(loss, has_aux=True)(params)

        found, (features, fused, logits) = run(params)
        found = named_variables(nnx.merge(graphdef, found))
    for level, expected in zip(features, their_features, strict=True):
        assert_near(level.reshape(1, -1, SIZE.features), expected[:, 1:].detach())
    assert_near(fused, their_fused.detach().permute(0, 2, 3, 1))
    assert_near(logits, their_logits.detach().permute(0, 2, 3, 1))
    expected = theirs.official(grads)
    assert found.keys() == expected.keys()
    for name, variable in found.items():
        assert_near(to_torch_layout(np.asarray(variable[...])), expected[name])


@pytest.mark.parametrize("grid", [(57, 57), (37, 12)])
def test_positions_with_the_offset_of_dinov2(grid):
    table = np.random.default_rng(0).standard_normal((SIDE, SIDE, 3))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(table.transpose(2, 0, 1)[None].copy()),
        scale_factor=tuple((length + 0.1) / SIDE for length in grid),
        mode="bicubic",
    )[0].permute(1, 2, 0)
    with jax.enable_x64(True):
        resize = jax.jit(lambda table: positions.resize_positions(table, grid, offset=0.1))
        found = resize(table)
    assert_near(found, expected, 1e-12)


def test_features_of_photographs_with_the_real_weights(shared_data):
    """The weights of DINOv2-S, float32; transformers interpolates positions without the offset."""
    path = shared_data / "backbones" / "dinov2_small.safetensors"
    paths = sorted((shared_data / "msrc" / "images").iterdir())[:400:100]
    photos = np.stack([cv2.imread(str(each))[:168, :224, ::-1] for each in paths])
    images = np.array(normalize(jnp.asarray(photos)))  # torch wants to be able to write
    config = transformers.Dinov2Config(
        image_size=518, patch_size=14, hidden_size=384, num_attention_heads=6,
        out_features=[f"stage{level + 1}" for level in SIZES["dinov2_small"].levels],
        apply_layernorm=True, reshape_hidden_states=False,
    )  # fmt: skip
    theirs = transformers.Dinov2Backbone(config).eval()
    parts = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
    state = {"embeddings.mask_token": torch.zeros(1, 384)}
    for name, value in load_file(path).items():
        name = re.sub(r"attention\.attention\.(\w+)", lambda m: f"attention.{parts[m[1]]}", name)
        name = name.replace("attention.output.dense", "attention.o_proj")
        state[name] = torch.from_numpy(value.astype(np.float32))
    theirs.load_state_dict(state, strict=True)
    # In float64, since two networks in float32 differ by the rounding of both.
    theirs.double()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images).double().permute(0, 3, 1, 2)).feature_maps
    model = tiny_vit.build(size=SIZES["dinov2_small"], position_offset=0.0)
    assert load_torch(model, path).loaded == 12 * 14 + 6
    graphdef, params = nnx.split(model)
    run = jax.jit(lambda params, x: nnx.merge(graphdef, params).encode(x, train=False))
    for level, their_level in zip(run(params, images), expected, strict=True):
        found = level.reshape(len(images), -1, 384)
        # The largest difference is 1e-4, of values that reach 15 and more.
        np.testing.assert_allclose(found, their_level[:, 1:].numpy(), rtol=1e-4, atol=1e-4)
