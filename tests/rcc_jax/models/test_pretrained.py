"""Loading weights: names, a use for every tensor, partial and unsuitable files."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rcc_jax.models import DeepLabV3Plus, pretrained
from rcc_jax.models.pretrained import load_torch, save_torch
from rcc_jax.models.resnet_names import describe
from tests.support.weight_files import assert_same, backbone_state, differs, error_of, saved_state


@pytest.mark.parametrize("stem", ["v1", "deep"])
def test_bare_backbone_leaves_the_decoder(make_model, tmp_path, stem):
    model, other, before = make_model(stem=stem), *(make_model(seed=1, stem=stem) for _ in "ab")
    np.savez(tmp_path / "backbone.npz", **backbone_state(model, tmp_path))
    summary = load_torch(other, tmp_path / "backbone.npz")
    assert summary.covers == "backbone"
    assert summary.unused == ("fc.weight", "fc.bias")
    assert_same(other, model, prefix="backbone.")
    for part in ("head.", "reduce.", "fuse.", "classifier."):
        assert_same(other, before, prefix=part)
    assert "fc.weight" in error_of(other, tmp_path / "backbone.npz", allow_unused=())


def test_missing_stage_has_to_be_allowed(make_model, tmp_path):
    model, other, before = make_model(), make_model(seed=1), make_model(seed=1)
    state = backbone_state(model, tmp_path)
    state = {k: v for k, v in state.items() if not k.startswith("layer4")}
    path = tmp_path / "stages.npz"
    np.savez(path, **state)
    message = error_of(other, path)
    assert "15 missing: layer4.0." in message
    assert "and 12 more" in message
    assert "\n" not in message
    assert "stem deep, width 8, layer1 layer2 layer3, no decoder" in message
    summary = load_torch(other, path, allow_missing=("layer4",))
    assert len(summary.missing) == 15
    assert_same(other, before, prefix="backbone.layer4")
    assert_same(other, model, prefix="backbone.layer3")


def test_left_over_and_reshaped_tensors_are_listed(make_model, tmp_path):
    state = saved_state(make_model(), tmp_path)
    state["aux.0.weight"] = np.zeros(3, np.float32)
    state["classifier.bias"] = np.zeros(9, np.float32)
    del state["fuse.4.running_var"]
    np.savez(tmp_path / "a.npz", **state)
    message = error_of(make_model(seed=1), tmp_path / "a.npz")
    assert "1 missing: fuse.4.running_var" in message
    assert "1 unused: aux.0.weight" in message
    assert "classifier.bias (9,), in the model (5,)" in message


def test_other_number_of_classes(make_model, tmp_path):
    """A classifier in both lists keeps its values; one list is not enough."""
    path = tmp_path / "seven.npz"
    save_torch(make_model(num_classes=7), path)
    model, before = make_model(seed=1), make_model(seed=1)
    message = error_of(model, path, allow_missing=("classifier",))
    assert "the file has 7 classes, the model 5: name 'classifier' in both" in message
    allowed = ("classifier",)
    summary = load_torch(model, path, allow_missing=allowed, allow_unused=allowed)
    assert set(summary.missing) == {"classifier.weight", "classifier.bias"}
    assert summary.missing == summary.unused
    assert_same(model, before, prefix="classifier")
    assert not differs(model, make_model(num_classes=7), "fuse.0.weight")


@pytest.mark.parametrize(
    ("file", "model", "expected"),
    [
        ({"stem": "v1"}, {"stem": "deep"}, "stem v1.*use the stem 'v1'"),
        ({"stem": "deep"}, {"stem": "v1"}, "stem deep.*use the stem 'deep'"),
        ({"backbone": "resnet34"}, {}, "seems to be resnet34.*use the backbone 'resnet34'"),
        ({}, {"backbone": "resnet34"}, "seems to be resnet10.*use the backbone 'resnet10'"),
        ({"backbone": "resnet50", "width": 2}, {}, "seems to be resnet50"),
        ({"width": 4}, {}, "width 4.*use --config.model.width=4, which fits the file, or"),
    ],
)
def test_weights_for_another_network(make_model, tmp_path, file, model, expected):
    np.savez(tmp_path / "a.npz", **backbone_state(make_model(**file), tmp_path))
    message = error_of(make_model(**model), tmp_path / "a.npz")
    assert re.search(expected, message, re.DOTALL)
    assert len(message) < 2500


def test_resnet_d_is_recognised():
    """The resnet50d of timm has a narrower stem and pools in its shortcuts: not our network."""
    contents = describe(
        {
            "conv1.0.weight": (32, 3, 3, 3),
            "conv1.3.weight": (32, 32, 3, 3),
            "conv1.6.weight": (64, 32, 3, 3),
            "layer1.0.conv1.weight": (64, 64, 1, 1),
            "layer1.0.conv3.weight": (256, 64, 1, 1),
            "layer1.0.downsample.1.weight": (256, 64, 1, 1),
            "layer1.0.downsample.2.weight": (256,),
        }
    )
    assert "ResNet-D" in str(contents)
    assert "deep, but 32-32-64" in str(contents)


def test_typo_in_allow_missing(make_model, tmp_path):
    model = make_model()
    save_torch(model, tmp_path / "a.npz")
    with pytest.raises(ValueError, match="'layer5', which matches nothing in the model"):
        load_torch(model, tmp_path / "a.npz", allow_missing=("layer4", "layer5"))
    with pytest.raises(ValueError, match="allow_missing is the string 'layer4'"):
        load_torch(model, tmp_path / "a.npz", allow_missing="layer4")


def test_imagenet_backbone(shared_data, capsys):
    """The ImageNet stages 1 to 3 go into the whole network once layer4 may be missing."""
    path = shared_data / "backbones" / "resnet50_imagenet_stages1-4.npz"
    abstract = nnx.eval_shape(lambda: DeepLabV3Plus(11, "resnet50", "v1", rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(abstract)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), nnx.to_pure_dict(state))
    model = nnx.merge(graphdef, zeros)
    assert "50 missing: layer4.0." in error_of(model, path)
    summary = load_torch(model, path, allow_missing=("layer4",))
    assert (summary.loaded, summary.stem, summary.unused) == (215, "v1", ())
    assert all(name.startswith("layer4.") for name in summary.missing)
    with np.load(path) as archive:
        kernel = archive["layer3.5.conv2.weight"]
    ours = np.asarray(model.backbone.layer3[5].conv2.kernel[...])
    np.testing.assert_array_equal(ours, kernel.transpose(2, 3, 1, 0).astype(np.float32))

    assert pretrained.main([f"--source={path}", "--backbone=resnet50"]) == 0
    printed = capsys.readouterr().out
    assert summary.sha256 in printed
    assert "float16" in printed
    assert "--config.model.stem=v1" in printed
    assert "--config.model.allow_missing=layer4 " in printed


def test_a_network_without_the_last_stage_and_one_with_it(make_model, tmp_path, capsys):
    whole, short = make_model(backbone="resnet50"), make_model(backbone="resnet50_c4")
    files = {name: tmp_path / f"{name}.npz" for name in ("whole", "short")}
    for name, model in (("whole", whole), ("short", short)):
        np.savez(files[name], **backbone_state(model, tmp_path))
    assert pretrained.main([f"--source={files['short']}"]) == 0
    fits = capsys.readouterr().out
    assert "--config.model.backbone=resnet50_c4 " in fits
    assert "allow_" not in fits
    assert pretrained.main([f"--source={files['short']}", "--backbone=resnet50"]) == 0
    assert "allow_missing=layer4 " in capsys.readouterr().out
    assert pretrained.main([f"--source={files['whole']}", "--backbone=resnet50_c4"]) == 0
    fits = capsys.readouterr().out
    assert "--config.model.allow_unused=fc,layer4 " in fits
    assert "backbone=resnet50_c4 " in fits
    message = error_of(whole, files["short"])
    assert "use the backbone 'resnet50_c4', or --config.model.allow_missing=layer4 (" in message
    message = error_of(short, files["whole"])
    assert "use the backbone 'resnet50', or --config.model.allow_unused=fc,layer4 (" in message
    assert load_torch(short, files["whole"], allow_unused=("fc", "layer4")).missing == ()


def test_command(make_model, tmp_path, capsys):
    path = tmp_path / "network.safetensors"
    save_torch(make_model(), path)
    assert pretrained.main([f"--source={path}"]) == 0
    printed = capsys.readouterr().out
    assert "decoder with 5 classes" in printed
    assert "config.data.num_classes = 5" in printed
    # The printed fields build a network that fits the file; an error names the same fields.
    fits = next(line for line in printed.splitlines() if line.startswith("fits "))
    flags = dict(flag.split("=") for flag in fits.split()[1:])
    assert flags.pop("--config.model.pretrained") == str(path)
    fields = {flag.removeprefix("--config.model."): value for flag, value in flags.items()}
    sizes = {name: int(fields.pop(name)) for name in ("width", "decoder_channels")}
    assert load_torch(make_model(seed=1, **fields, **sizes), path).missing == ()
    message = error_of(make_model(width=4, decoder_channels=16), path)
    assert f"--config.model.width={sizes['width']} --config.model.decoder_channels=32" in message
    assert pretrained.main([f"--source={path}", "--backbone=resnet50"]) == 2
    assert "seems to be resnet10" in capsys.readouterr().err
    assert pretrained.main([f"--source={tmp_path / 'none.npz'}"]) == 2
    assert "none.npz" in capsys.readouterr().err


def test_command_line_runs_without_warnings(tmp_path):
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "rcc_jax.models.pretrained"]
    result = subprocess.run(
        [*command, f"--source={tmp_path / 'none.npz'}"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: no weights at")
