"""Exports a trained network: StableHLO with a loader, and weights with PyTorch's names."""

import json
import pathlib
from collections.abc import Callable

import jax
import jax.export
import jax.numpy as jnp
import ml_collections
from flax import nnx

import rcc_jax
from input_pipeline.files import write_atomically
from rcc_jax.build import build_network
from rcc_jax.errors import ConfigError
from rcc_jax.models import families, pretrained
from rcc_jax.models.network import IMAGENET_MEAN, IMAGENET_STD, member_of
from rcc_jax.segmenter import Segmenter
from rcc_jax.workdir import checkpoint_paths

PROGRAM, WEIGHTS, RECORD = "model.stablehlo", "weights.safetensors", "model.json"
# Scripts copied into the export. The second needs PyTorch, so it cannot be imported here; it holds
# the networks of families with `torch_script`.
TORCH_SCRIPT = "torch_network.py"
_FOLDER = pathlib.Path(__file__).with_name("exported")
SCRIPTS = {
    "load.py": _FOLDER / "load.py",
    TORCH_SCRIPT: _FOLDER / TORCH_SCRIPT,
}
# The platforms that the program is exported for; none of them needs to be present.
PLATFORMS = ("cpu", "cuda", "tpu")


def export(
    config: ml_collections.ConfigDict,
    workdir_path: str,
    *,
    output: str,
    checkpoint: str = "latest",
    log: Callable[[str], None] = print,
) -> pathlib.Path:
    """Writes a network into a folder that can be used without this project.

    The network sees every image once and whole, regardless of `config.eval`.

    Args:
        config: The configuration of the run.
        workdir_path: Folder of the run.
        output: Folder of the results: a new or empty one, or an earlier export to replace.
        checkpoint: 'latest', 'best', or the path of a checkpoint or of another workdir.
        log: Called with a line of text.

    Returns:
        The folder, with `model.stablehlo`, `weights.safetensors`, the script `load.py`, for a
        ResNet `torch_network.py`, and `model.json`, which is written last.

    Raises:
        ConfigError: If the checkpoint or the folder cannot be used.
    """
    folder = pathlib.Path(output).absolute()
    _check_folder(folder)
    segmenter = Segmenter(config, checkpoint_paths.find_named(config, workdir_path, checkpoint))
    network, weights = build_network(config), segmenter.weights
    # On the host, so that the program is for a single device even if the weights are on several.
    constants = jax.device_get(weights)
    program = serialize(lambda images: network.predict(constants, images))
    model = nnx.merge(network.graphdef, weights.params, weights.stats)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A folder without model.json is an interrupted export.
        (folder / RECORD).unlink(missing_ok=True)
        write_atomically(folder / PROGRAM, program)
        pretrained.save_torch(member_of(model), folder / WEIGHTS)
        for name, source in SCRIPTS.items():
            if name == TORCH_SCRIPT and not families.of_model(member_of(model)).torch_script:
                (folder / name).unlink(missing_ok=True)  # Of an earlier export.
            else:
                write_atomically(folder / name, source.read_bytes())
        write_atomically(folder / RECORD, json.dumps(_describe(segmenter), indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"--output={folder}: cannot write there ({error}).") from None
    fields = config.eval
    if fields.mode != "whole" or fields.flip or tuple(fields.scales) != (1.0,):
        log("unlike the run's evaluation, the export sees each image once, whole and unscaled")
    log(f"{segmenter.network} of {segmenter.checkpoint}: {folder}")
    return folder


def serialize(predict: Callable[[jax.Array], jax.Array]) -> bytearray:
    """A network as the bytes of a StableHLO program for any batch and image size.

    Args:
        predict: From uint8 images [B, H, W, 3] to logits [B, H, W, K]; its weights become constants
            of the program.

    Returns:
        The input of `jax.export.deserialize`; the logits are float32.
    """
    batch, height, width = jax.export.symbolic_shape("batch, height, width")
    images = jax.ShapeDtypeStruct((batch, height, width, 3), jnp.uint8)
    function = jax.jit(lambda images: predict(images).astype(jnp.float32))
    return jax.export.export(function, platforms=PLATFORMS)(images).serialize()


def _check_folder(folder: pathlib.Path) -> None:
    try:
        there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise ConfigError(f"--output={folder}: cannot be used as a folder ({error}).") from None
    others = {name for name in there if not name.startswith(".")}
    others -= {PROGRAM, WEIGHTS, RECORD, *SCRIPTS, "__pycache__"}
    if others:
        raise ConfigError(
            f"--output={folder}: the folder holds other files, such as {min(others)}; name a new "
            "or an empty folder."
        )


def _describe(segmenter: Segmenter) -> dict:
    names = segmenter.class_names
    fields = segmenter.config.model.to_dict()
    architecture = ("backbone", *families.BACKBONES[fields["backbone"]].architecture)
    size = ["batch", "height", "width"]
    return {
        "input": {
            "type": "uint8",
            "shape": [*size, 3],
            "meaning": "RGB, 0 to 255, upright; any batch and size",
        },
        "output": {
            "type": "float32",
            "shape": [*size, len(names)],
            "meaning": "logits; their softmax is the probability, the largest is the label",
        },
        "classes": {
            name: f"#{bytes(color).hex()}"
            for name, color in zip(names, segmenter.palette, strict=False)
        },
        "platforms": PLATFORMS,
        "checkpoint": str(segmenter.checkpoint),
        "network": segmenter.network,
        "weights": {
            **{name: fields[name] for name in architecture},
            "mean": IMAGENET_MEAN.tolist(),
            "std": IMAGENET_STD.tolist(),
            "meaning": "PyTorch names; the network takes RGB / 255, minus mean, over std",
        },
        "versions": {"rcc_jax": rcc_jax.__version__, "jax": jax.__version__},
    }
