"""Weights in and out: formats, names, accounting for every tensor, and every way to go wrong."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from flax import nnx

from rcc_jax.models import DeepLabV3Plus, pretrained, state_dict_files
from rcc_jax.models.pretrained import load_torch, save_torch
from rcc_jax.models.torch_names import describe, named_variables

HAS_TORCH = True
try:
    import torch
except ImportError:
    HAS_TORCH = False
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="optional: PyTorch is not installed")
SUFFIXES = [".npz", ".safetensors", pytest.param(".pth", marks=needs_torch)]


def values(model):
    return {name: np.asarray(v[...]) for name, v in named_variables(model).items()}


def assert_same(model, other, prefix=""):
    left, right = values(model), values(other)
    assert left.keys() == right.keys()
    for name in left:
        if name.startswith(prefix):
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def differs(model, other, name):
    return not np.array_equal(values(model)[name], values(other)[name])


def saved_state(model, folder):
    """State dict of a model under PyTorch's names, as save_torch writes it."""
    save_torch(model, folder / "state.npz")
    return dict(np.load(folder / "state.npz"))


def backbone_state(model, folder):
    """The same as a bare, torchvision-like backbone, with the classifier that those have."""
    state = {
        k.removeprefix("backbone."): v
        for k, v in saved_state(model, folder).items()
        if k.startswith("backbone.")
    }
    return state | {"fc.weight": np.zeros((7, 64), np.float32), "fc.bias": np.zeros(7, np.float32)}


def error_of(model, path, **allowed):
    """Message of the error that loading raises; the model must not have changed."""
    before = values(model)
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        load_torch(model, path, **allowed)
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])
    return str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("arguments", [{}, {"stem": "v1", "backbone": "resnet50", "width": 2}])
def test_round_trip_is_exact(make_model, tmp_path, suffix, arguments):
    model, other = make_model(**arguments), make_model(seed=1, **arguments)
    path = tmp_path / f"weights{suffix}"
    save_torch(model, path)
    summary = load_torch(other, path, allow_unused=())
    assert_same(model, other)
    assert (summary.covers, summary.missing, summary.unused) == ("network", (), ())
    assert summary.loaded == len(values(model))
    assert summary.stem == arguments.get("stem", "deep")
    assert len(summary.sha256) == 64
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # no temporary file stays


def test_layout_is_torch_s(make_model, tmp_path):
    """A saved kernel is [out, in, height, width] and the counters are scalar integers."""
    model = make_model()
    state = saved_state(model, tmp_path)
    kernel = np.asarray(model.backbone.layer1[0].conv2.kernel[...])
    saved = state["backbone.layer1.0.conv2.weight"]
    assert saved[2, 3, 0, 1] == kernel[0, 1, 3, 2]
    counter = state["backbone.layer1.0.bn2.num_batches_tracked"]
    assert (counter.shape, counter.dtype) == ((), np.int64)
    assert sum(k.endswith("num_batches_tracked") for k in state) == sum(
        k.endswith("running_mean") for k in state
    )


@needs_torch
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_torch_files(make_model, tmp_path, wrapper):
    """Training scripts save it bare or wrapped, with the prefix of their parallelism."""
    model, other = make_model(), make_model(seed=1)
    state = {f"module.{k}": torch.from_numpy(v) for k, v in saved_state(model, tmp_path).items()}
    checkpoint = {"epoch": 3, "optimizer": {"lr": 0.1}, wrapper: state} if wrapper else state
    torch.save(checkpoint, tmp_path / "a.pth")
    load_torch(other, tmp_path / "a.pth")
    assert_same(model, other)


@needs_torch
def test_bfloat16_torch_file(make_model, tmp_path):
    model = make_model(seed=1)
    state = {k: torch.from_numpy(v) for k, v in saved_state(make_model(), tmp_path).items()}
    name = "classifier.weight"
    state[name] = state[name].bfloat16()
    torch.save(state, tmp_path / "a.pt")
    load_torch(model, tmp_path / "a.pt")
    expected = state[name].float().numpy()[:, :, 0, 0].T
    np.testing.assert_array_equal(model.classifier.kernel[0, 0], expected)


@needs_torch
@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"model": {"w": "text"}}])
def test_torch_file_without_a_state_dict(make_model, tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    assert "state" in error_of(make_model(), tmp_path / "a.pth")


def test_torch_missing(make_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pth").write_bytes(b"x")
    with pytest.raises(ImportError, match=r"pip install 'rcc_jax\[torch\]'"):
        load_torch(make_model(), tmp_path / "a.pth")
    with pytest.raises(ImportError, match=r"rcc_jax\[torch\]"):
        save_torch(make_model(), tmp_path / "b.pth")
    assert not (tmp_path / "b.pth").exists()


def test_half_precision_and_missing_counters(make_model, tmp_path):
    """Half-precision kernels are cast up exactly; a file needs no num_batches_tracked."""
    model, other = make_model(), make_model(seed=1)
    state = saved_state(model, tmp_path)
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    state = {k: v.astype(np.float16) if v.ndim == 4 else v for k, v in state.items()}
    np.savez(tmp_path / "half.npz", **state)
    load_torch(other, tmp_path / "half.npz")
    kernel = values(other)["fuse.0.weight"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), state["fuse.0.weight"])


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
    assert "25 missing: layer4.0." in message
    assert "and 15 more" in message
    assert "stem deep, width 8, layer1 layer2 layer3, no decoder" in message
    summary = load_torch(other, path, allow_missing=("layer4",))
    assert len(summary.missing) == 25
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
    assert "1 left over: aux.0.weight" in message
    assert "classifier.bias (9,), in the model (5,)" in message


def test_other_number_of_classes(make_model, tmp_path):
    """A classifier that both lists name keeps its own values; one list alone is not enough."""
    path = tmp_path / "seven.npz"
    save_torch(make_model(num_classes=7), path)
    model, before = make_model(seed=1), make_model(seed=1)
    assert "7 classes" in error_of(model, path, allow_missing=("classifier",))
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
        ({}, {"backbone": "resnet34"}, "seems to be resnet18.*use the backbone 'resnet18'"),
        ({"backbone": "resnet50", "width": 2}, {}, "seems to be resnet50"),
        ({"width": 4}, {}, "width 4"),
    ],
)
def test_weights_for_another_network(make_model, tmp_path, file, model, expected):
    np.savez(tmp_path / "a.npz", **backbone_state(make_model(**file), tmp_path))
    message = error_of(make_model(**model), tmp_path / "a.npz")
    assert re.search(expected, message, re.DOTALL)
    assert len(message) < 2500


def test_resnet_d_is_recognised():
    """timm's resnet50d has a narrower stem and pools in its shortcuts: not our network."""
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


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "noise"])
def test_damaged_file(make_model, tmp_path, suffix, damage):
    path = tmp_path / f"weights{suffix}"
    save_torch(make_model(), path)
    content = path.read_bytes()
    noise = np.random.default_rng(0).bytes(1000)
    path.write_bytes(
        {"truncated": content[: len(content) // 2], "empty": b"", "noise": noise}[damage]
    )
    assert "cannot read weights" in error_of(make_model(seed=1), path)


def test_flipped_bits_are_noticed(make_model, tmp_path):
    path = tmp_path / "weights.npz"
    save_torch(make_model(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    assert "cannot read weights" in error_of(make_model(seed=1), path)


def test_pickled_objects_are_refused(make_model, tmp_path):
    np.savez(tmp_path / "a.npz", w=np.array([{"a": 1}], object))
    assert "cannot read weights" in error_of(make_model(), tmp_path / "a.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(make_model, tmp_path, value):
    state = saved_state(make_model(), tmp_path)
    state["reduce.0.weight"][0, 0] = value
    np.savez(tmp_path / "a.npz", **state)
    assert "reduce.0.weight" in error_of(make_model(seed=1), tmp_path / "a.npz")


def test_bad_paths(make_model, tmp_path):
    model = make_model()
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz"):
        load_torch(model, tmp_path / "nothing.npz")
    with pytest.raises(ValueError, match=r"suffix '.bin'; weights are one of .npz, .safetensors"):
        load_torch(model, tmp_path / "weights.bin")
    with pytest.raises(ValueError, match=r"suffix '.ckpt'"):
        save_torch(model, tmp_path / "weights.ckpt")
    with pytest.raises(OSError, match="nowhere"):
        save_torch(model, tmp_path / "nowhere" / "weights.npz")


def test_typo_in_allow_missing(make_model, tmp_path):
    model = make_model()
    save_torch(model, tmp_path / "a.npz")
    with pytest.raises(ValueError, match="'layer5', which is nothing in the model"):
        load_torch(model, tmp_path / "a.npz", allow_missing=("layer4", "layer5"))
    with pytest.raises(ValueError, match="allow_missing is the string 'layer4'"):
        load_torch(model, tmp_path / "a.npz", allow_missing="layer4")


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.safetensors"
    state_dict_files.write(path, {"w": np.ones(3)})
    with pytest.raises(safetensors.SafetensorError):  # the format knows no text
        state_dict_files.write(path, {"w": np.zeros(3), "x": np.array(["text"])})
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(state_dict_files.read(path)["w"], np.ones(3))


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

    assert pretrained.main([f"--source={path}"]) == 0
    printed = capsys.readouterr().out
    assert summary.sha256 in printed
    assert "float16" in printed
    assert "--config.model.stem=v1" in printed
    assert "--config.model.allow_missing=layer4\n" in printed


def test_command(make_model, tmp_path, capsys):
    path = tmp_path / "network.safetensors"
    save_torch(make_model(), path)
    assert pretrained.main([f"--source={path}"]) == 0
    printed = capsys.readouterr().out
    assert "decoder with 5 classes" in printed
    assert "--config.model.backbone=resnet18 --config.model.stem=deep" in printed
    assert pretrained.main([f"--source={path}", "--backbone=resnet50"]) == 2
    assert "seems to be resnet18" in capsys.readouterr().err
    assert pretrained.main([f"--source={tmp_path / 'none.npz'}"]) == 2
    assert "none.npz" in capsys.readouterr().err


def test_command_line_runs_without_warnings(tmp_path):
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "rcc_jax.models.pretrained"]
    result = subprocess.run(
        [*command, f"--source={tmp_path / 'none.npz'}"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: no weights at")
