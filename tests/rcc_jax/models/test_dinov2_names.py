"""Files of DINOv2 by the names of four libraries, and what does not fit."""

import numpy as np
import pytest

from rcc_jax.models import dinov2_names, families, pretrained
from rcc_jax.models.pretrained import load_torch, save_torch
from tests.support import tiny_vit
from tests.support.weight_files import (
    as_transformers,
    assert_same,
    error_of,
    official,
    saved_state,
)

LIBRARIES = {
    "official": lambda state: state,
    "timm": lambda state: {k: v for k, v in state.items() if k != "mask_token"},
    "transformers": as_transformers,
    "transformers in memory": lambda state: as_transformers(
        state, "attention.", ("q_proj", "k_proj", "v_proj")
    ),
    "with a prefix": lambda state: {f"dinov2.{k}": v for k, v in as_transformers(state).items()},
    "half": lambda state: {k: v.astype(np.float16) if v.ndim > 1 else v for k, v in state.items()},
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_encoders_of_all_libraries(tmp_path, library):
    model, other, before = tiny_vit.build(), tiny_vit.build(seed=1), tiny_vit.build(seed=1)
    path = tmp_path / "encoder.npz"
    np.savez(path, **LIBRARIES[library](official(model, tmp_path)))
    summary = load_torch(other, path, allow_unused=())
    assert (summary.covers, summary.missing, summary.unused) == ("backbone", (), ())
    assert "tensors of the backbone from" in str(summary)
    if library == "half":
        kernel = np.asarray(model.backbone.blocks[3].mlp.fc1.kernel[...])
        found = np.asarray(other.backbone.blocks[3].mlp.fc1.kernel[...])
        np.testing.assert_array_equal(found, kernel.astype(np.float16).astype(np.float32))
    else:
        assert_same(other, model, prefix="backbone.")
    assert_same(other, before, prefix="head.")


def test_saved_network_has_the_names_of_unimatch_v2(tmp_path):
    model, other = tiny_vit.build(), tiny_vit.build(seed=1)
    state = saved_state(model, tmp_path)
    features, width = tiny_vit.SIZE.features, tiny_vit.SIZE.head_features
    shapes = {
        "backbone.mask_token": (1, features),
        "backbone.pos_embed": (1, 26, features),
        "backbone.blocks.3.ls2.gamma": (features,),
        "backbone.blocks.0.attn.qkv.weight": (3 * features, features),
        "head.projects.3.weight": (10, features, 1, 1),
        "head.resize_layers.0.weight": (4, 4, 4, 4),
        "head.resize_layers.3.weight": (10, 10, 3, 3),
        "head.scratch.layer4_rn.weight": (width, 10, 3, 3),
        "head.scratch.refinenet4.resConfUnit1.conv2.bias": (width,),
        "head.scratch.refinenet1.out_conv.weight": (width, width, 1, 1),
        "head.scratch.output_conv.2.weight": (tiny_vit.NUM_CLASSES, width, 1, 1),
    }
    assert {name: state[name].shape for name in shapes} == shapes
    assert not any("resize_layers.2" in name or "layer1_rn.bias" in name for name in state)
    summary = load_torch(other, tmp_path / "state.npz", allow_unused=())
    assert (summary.covers, summary.missing) == ("network", ())
    assert_same(other, model)


def both(*names):
    return {f"{name}.{part}" for name in names for part in ("weight", "bias")}


def test_saved_network_has_all_tensors_of_unimatch_v2_and_no_other(tmp_path):
    """PyTorch's strict `load_state_dict` takes it."""
    inside = ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    units = [f"resConfUnit{unit}.conv{conv}" for unit in (1, 2) for conv in (1, 2)]
    expected = {
        *(f"backbone.{name}" for name in ("cls_token", "mask_token", "pos_embed")),
        *both("backbone.patch_embed.proj", "backbone.norm"),
        *(f"backbone.blocks.{i}.ls{j}.gamma" for i in range(tiny_vit.SIZE.depth) for j in (1, 2)),
        *both(
            *(f"backbone.blocks.{i}.{name}" for i in range(tiny_vit.SIZE.depth) for name in inside),
            *(f"head.projects.{level}" for level in range(4)),
            *(f"head.resize_layers.{level}" for level in (0, 1, 3)),
            *(f"head.scratch.refinenet{i}.{x}" for i in range(1, 5) for x in ("out_conv", *units)),
            *(f"head.scratch.output_conv.{layer}" for layer in (0, 2)),
        ),
        *(f"head.scratch.layer{level}_rn.weight" for level in range(1, 5)),
    }
    assert set(saved_state(tiny_vit.build(), tmp_path)) == expected


def test_checkpoint_of_unimatch_v2_gives_the_averaged_weights(tmp_path):
    torch = pytest.importorskip("torch", reason="optional: PyTorch is not installed")

    def wrapped(model):
        state = saved_state(model, tmp_path)
        return {f"module.{k}": torch.from_numpy(v) for k, v in state.items()}

    teacher, student, other = (tiny_vit.build(seed=seed) for seed in range(3))
    checkpoint = {
        "model": wrapped(student),
        "model_ema": wrapped(teacher),
        "optimizer": {"param_groups": [{"lr": 5e-6}]},
        "epoch": 3,
        "previous_best": np.float64(79.0),
    }
    torch.save(checkpoint, tmp_path / "best.pth")
    load_torch(other, tmp_path / "best.pth", allow_unused=())
    assert_same(other, teacher)


def test_what_does_not_fit_is_said_with_a_way_out(tmp_path):
    model = tiny_vit.build()
    path = tmp_path / "a.npz"
    state = official(model, tmp_path)

    def message(changes):
        np.savez(path, **{**state, **changes})
        return error_of(model, path)

    shapes = {k: v.shape for k, v in state.items()}
    longer = np.zeros((1, 50, shapes["pos_embed"][2]), np.float32)
    assert "position embeddings of 5 x 5 patches; the file has 7 x 7" in message(
        {"pos_embed": longer}
    )
    wide = np.zeros((*shapes["patch_embed.proj.weight"][:2], 16, 16), np.float32)
    assert "patches of 14 pixels; the file has 16" in message({"patch_embed.proj.weight": wide})
    bad = np.full(shapes["norm.weight"], np.nan, np.float32)
    assert "norm.weight has values that are not finite" in message({"norm.weight": bad})
    registers = np.zeros((1, 4, 24), np.float32)
    assert "1 unused: register_tokens" in message({"register_tokens": registers})
    part = as_transformers(state)
    del part["encoder.layer.2.attention.attention.key.weight"]
    np.savez(path, **part)
    error = error_of(model, path)
    assert "1 missing: blocks.2.attn.qkv.weight" in error
    assert "2 unused: blocks.2.attn.q.weight, blocks.2.attn.v.weight" in error
    save_torch(tiny_vit.build(num_classes=7), path)
    assert "7 classes, the model 5: name 'head.scratch.output_conv.2'" in error_of(model, path)
    allowed = ("head.scratch.output_conv.2",)
    assert len(load_torch(model, path, allow_missing=allowed, allow_unused=allowed).missing) == 2


def test_families_are_told_apart(make_model, tmp_path):
    resnet, vit = tmp_path / "resnet.npz", tmp_path / "vit.npz"
    save_torch(make_model(), resnet)
    save_torch(tiny_vit.build(), vit)
    assert "a vision transformer of 4 blocks of 24 channels" in error_of(make_model(), vit)
    assert "seems to be resnet10, stem deep" in error_of(tiny_vit.build(), resnet)
    assert families.of_file(["layer1.0.conv1.weight"]).name == "resnet"
    assert families.of_file(["embeddings.patch_embeddings.projection.bias"]).name == "dinov2"


def test_command(shared_data, capsys):
    path = shared_data / "backbones" / "dinov2_small.safetensors"
    assert pretrained.main([f"--source={path}"]) == 0
    printed = capsys.readouterr().out
    assert "covers   dinov2_small, no head: 174 tensors" in printed
    # As an argument, since the optimizer and the crop depend on it.
    assert f"--config=FILE:backbone=dinov2_small --config.model.pretrained={path}" in printed
    assert pretrained.main([f"--source={path}", "--backbone=dinov2_base"]) == 2
    assert "use the backbone 'dinov2_small'" in capsys.readouterr().err


def test_description_of_an_unknown_file():
    assert str(dinov2_names.describe({})) == "no vision transformer, no head"
