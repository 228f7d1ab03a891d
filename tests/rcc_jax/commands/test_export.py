"""An exported network says what its checkpoint says, where this project is not installed."""

import json
import runpy
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rcc_jax
from configs import recorded
from input_pipeline.sources import scenes
from rcc_jax import build
from rcc_jax.commands.export import export
from rcc_jax.errors import ConfigError
from rcc_jax.models import DeepLabV3Plus, pretrained
from rcc_jax.models.network import member_of
from tests.support.commands import ENVIRONMENT, finish, start
from tests.support.untrained import write_run
from tests.support.weight_files import values

# What the loader may not need; then the command, and another batch and size through the function.
ELSEWHERE = """
import runpy, sys
sys.modules.update(dict.fromkeys(["rcc_jax", "input_pipeline", "configs", "flax", "safetensors"]))
import numpy as np
sys.argv = ["load.py", "images.npy", "logits.npy"]
load = runpy.run_path(f"{FOLDER}/load.py", run_name="__main__")["load"]
np.save("odd_logits.npy", load()(np.load("odd.npy")))
"""


@pytest.fixture(scope="module")
def exported(workdir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    output, _ = finish(start("--mode=export", f"--workdir={workdir}", f"--output={folder}"))
    assert output == f"EMA teacher of {workdir}/checkpoints/7: {folder}\n"
    return folder


def test_loader_alone_gives_the_logits_of_the_checkpoint(workdir, exported, tmp_path):
    images = {
        "images": np.stack([scenes.draw_scene(number)[0] for number in (100000, 100001)]),
        "odd": np.random.default_rng(0).integers(0, 256, (1, 37, 50, 3), np.uint8),
    }
    for name, batch in images.items():
        np.save(tmp_path / f"{name}.npy", batch)
    code = f"FOLDER = {str(exported)!r}\n{ELSEWHERE}"
    command = [sys.executable, "-I", "-c", code]
    subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=300)
    segmenter = rcc_jax.Segmenter.from_workdir(workdir)
    for name, result in (("images", "logits"), ("odd", "odd_logits")):
        logits = np.load(tmp_path / f"{result}.npy")
        assert logits.dtype == np.float32
        expected = segmenter.describe(images[name], probabilities=True)["probabilities"]
        assert len(np.unique(expected.argmax(axis=-1))) > 1
        np.testing.assert_allclose(jax.nn.softmax(logits), expected, atol=1e-4)


def zeros(abstract):
    graphdef, state = nnx.split(abstract)
    shapes = nnx.to_pure_dict(state)
    return nnx.merge(graphdef, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))


def test_weights_are_those_of_the_teacher_under_all_names_of_torch(workdir, exported):
    config = recorded.get_config(workdir)
    abstract = nnx.eval_shape(lambda: build.build_model(config, nnx.Rngs(0)))
    segmenter = rcc_jax.Segmenter.from_workdir(workdir)
    teacher = nnx.merge(nnx.graphdef(abstract), segmenter.weights.params, segmenter.weights.stats)
    record = json.loads((exported / "model.json").read_text())
    fields = {name: record["weights"][name] for name in ("backbone", "stem", "width")}
    fields |= {name: record["weights"][name] for name in ("decoder_channels", "aspp_rates")}
    loaded = zeros(nnx.eval_shape(lambda: DeepLabV3Plus(7, **fields, rngs=nnx.Rngs(0))))
    # Strict both ways: every name is in the file, and nothing else is.
    pretrained.load_torch(loaded, exported / "weights.safetensors", allow_unused=())
    expected = values(teacher)
    for name, value in values(loaded).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert tuple(record["classes"]) == scenes.CLASS_NAMES
    assert record["checkpoint"] == str(workdir / "checkpoints" / "7")


@pytest.mark.slow
def test_of_two_networks_the_main_one_is_exported(tmp_path):
    write_run(tmp_path / "run", "method=cps")
    config = recorded.get_config(tmp_path / "run")
    folder = export(config, str(tmp_path / "run"), output=str(tmp_path / "out"), log=str)
    segmenter = rcc_jax.Segmenter.from_workdir(tmp_path / "run")
    main = member_of(build.build_network(config).module(segmenter.weights))
    loaded = zeros(nnx.eval_shape(lambda: member_of(build.build_model(config, nnx.Rngs(0)))))
    pretrained.load_torch(loaded, folder / "weights.safetensors", allow_unused=())
    for name, value in values(main).items():
        np.testing.assert_array_equal(values(loaded)[name], value, err_msg=name)
    # The program holds its weights alone, and says what the evaluation of the run says.
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(segmenter.weights.main))
    assert size < (folder / "model.stablehlo").stat().st_size < 1.9 * size
    image = scenes.draw_scene(5)[0]
    program = jax.export.deserialize((folder / "model.stablehlo").read_bytes())
    found = jax.nn.softmax(program.call(image[None])[0])
    np.testing.assert_allclose(found, segmenter.probabilities(image), atol=1e-4)


IMAGES = np.random.default_rng(0).integers(0, 256, (2, 45, 61, 3), np.uint8)


@pytest.mark.parametrize("script", ["load.py", "torch_network.py"])
def test_a_script_without_arguments_says_what_it_takes(exported, script):
    if script == "torch_network.py":
        pytest.importorskip("torch", reason="optional: PyTorch is not installed")
    command = [sys.executable, exported / script]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"usage: python {script} ")
    assert ended.stderr.count("\n") == 1


def assert_logits(found, exported):
    expected = runpy.run_path(str(exported / "load.py"))["load"](exported)(IMAGES)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5 * np.ptp(expected)


def test_pytorch_takes_the_weights_strictly_and_gives_the_logits(exported):
    torch = pytest.importorskip("torch", reason="optional: PyTorch is not installed")
    network = runpy.run_path(str(exported / "torch_network.py"))["load"](exported)
    with torch.no_grad():
        assert_logits(network(torch.from_numpy(IMAGES)).numpy(), exported)


def test_onnx_file_gives_the_logits_at_another_batch_and_size(exported, tmp_path):
    for name in ("torch", "onnx", "onnxscript"):
        pytest.importorskip(name, reason=f"optional: {name} is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="optional: it runs the ONNX file")
    path = tmp_path / "model.onnx"
    command = [sys.executable, exported / "torch_network.py", path]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]
    (logits,) = runtime.InferenceSession(path).run(["logits"], {"images": IMAGES})
    assert_logits(logits, exported)


def test_refuses_what_cannot_be_used(workdir, tmp_path):
    config = recorded.get_config(workdir)
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(ConfigError, match=r"holds other files, such as notes\.txt; name a new"):
        export(config, str(workdir), output=str(tmp_path))
    with pytest.raises(ConfigError, match="cannot be used as a folder"):
        export(config, str(workdir), output=str(tmp_path / "notes.txt"))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
