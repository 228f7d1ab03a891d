"""Files of weights: formats, PyTorch's layout and wrappers, damage, and failed writes."""

import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors

from rcc_jax.models import state_dict_files
from rcc_jax.models.pretrained import load_torch, save_torch
from tests.support.weight_files import assert_same, error_of, saved_state, values

HAS_TORCH = True
try:
    import torch
except ImportError:
    HAS_TORCH = False
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="optional: PyTorch is not installed")
SUFFIXES = [".npz", ".safetensors", pytest.param(".pth", marks=needs_torch)]


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
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # No temporary file is left.


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
    """Training scripts save it bare or wrapped, with the prefix of data parallelism."""
    model, other = make_model(), make_model(seed=1)
    state = {f"module.{k}": torch.from_numpy(v) for k, v in saved_state(model, tmp_path).items()}
    checkpoint = {"epoch": 3, "optimizer": {"lr": 0.1}, wrapper: state} if wrapper else state
    torch.save(checkpoint, tmp_path / "a.pth")
    load_torch(other, tmp_path / "a.pth")
    assert_same(model, other)


@needs_torch
@pytest.mark.parametrize("numpy_1", [False, True])
def test_checkpoints_of_unimatch_give_the_teacher(make_model, tmp_path, numpy_1):
    """They hold a student, its EMA teacher and, as a number of numpy, the best score."""
    model, other = make_model(), make_model(seed=1)
    student, teacher = (
        {f"module.{k}": torch.from_numpy(v) for k, v in saved_state(each, tmp_path).items()}
        for each in (make_model(seed=2), model)
    )
    best = {"previous_best": np.mean([1.0, 2.0]), "previous_best_ema": np.float64(3)}
    path = tmp_path / "latest.pth"
    torch.save({"model": student, "model_ema": teacher, "epoch": 3, **best}, path)
    if numpy_1:  # Its name of the same function; the file is a zip archive without compression.
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                old = b"cnumpy.core.multiarray\nscalar"
                archive.writestr(name, content.replace(b"cnumpy._core.multiarray\nscalar", old))
        assert old in parts["latest/data.pkl"].replace(b"._core.", b".core.")
    load_torch(other, path)
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


@needs_torch
def test_torch_file_of_parameters(make_model, tmp_path):
    """A state dict of a user's own may hold parameters, which require gradients."""
    model, other = make_model(), make_model(seed=1)
    state = {name: torch.tensor(value) for name, value in saved_state(model, tmp_path).items()}
    state = {k: torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in state.items()}
    torch.save(state, tmp_path / "a.pt")
    load_torch(other, tmp_path / "a.pt")
    for name, value in values(model).items():
        np.testing.assert_array_equal(values(other)[name], value)


def test_torch_missing(make_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pth").write_bytes(b"x")
    with pytest.raises(ImportError, match=r"pip install 'rcc_jax\[torch\]'"):
        load_torch(make_model(), tmp_path / "a.pth")
    with pytest.raises(ImportError, match=r"rcc_jax\[torch\]"):
        save_torch(make_model(), tmp_path / "b.pth")
    assert not (tmp_path / "b.pth").exists()


@pytest.mark.parametrize(
    ("suffix", "half"),
    [(".npz", np.float16), (".safetensors", np.float16), (".safetensors", ml_dtypes.bfloat16)],
)
def test_half_precision_and_missing_counters(make_model, tmp_path, suffix, half):
    """Half-precision kernels are cast up exactly; a file needs no num_batches_tracked."""
    model, other = make_model(), make_model(seed=1)
    state = saved_state(model, tmp_path)
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    state = {k: v.astype(half) if v.ndim == 4 else v for k, v in state.items()}
    path = tmp_path / f"half{suffix}"
    state_dict_files.write(path, state)
    load_torch(other, path)
    kernel = values(other)["fuse.0.weight"]
    assert kernel.dtype == np.float32
    expected = state["fuse.0.weight"].astype(np.float32)
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), expected)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "noise"])
def test_corrupt_file(make_model, tmp_path, suffix, damage):
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


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.safetensors"
    state_dict_files.write(path, {"w": np.ones(3)})
    with pytest.raises(safetensors.SafetensorError):  # the format knows no text
        state_dict_files.write(path, {"w": np.zeros(3), "x": np.array(["text"])})
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(state_dict_files.read(path)["w"], np.ones(3))
