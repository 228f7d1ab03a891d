"""PyTorch's own network takes our weights strictly and gives our logits."""

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from rcc_jax.models.pretrained import save_torch

torch = pytest.importorskip("torch", reason="optional: PyTorch is not installed")


@pytest.mark.parametrize(
    ("backbone", "stem", "output_stride"),
    [
        ("resnet10", "v1", 16),
        ("resnet18", "v1", 16),
        ("resnet18", "deep", 8),
        ("resnet50", "deep", 16),
    ],
)
def test_strict_load_and_logits(make_model, images, tmp_path, backbone, stem, output_stride):
    from rcc_jax.commands.exported.torch_network import DeepLabV3Plus

    model = make_model(backbone=backbone, stem=stem, output_stride=output_stride)
    save_torch(model, tmp_path / "weights.safetensors")
    network = DeepLabV3Plus(
        5,
        backbone=backbone,
        stem=stem,
        output_stride=output_stride,
        width=8,
        decoder_channels=32,
        aspp_rates=(6, 12, 18),
    ).eval()
    state = load_file(tmp_path / "weights.safetensors")
    network.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=True)
    with torch.no_grad():
        theirs = network(torch.from_numpy(np.asarray(images).transpose(0, 3, 1, 2).copy())).numpy()
    graphdef, rest = nnx.split(model)
    run = jax.jit(lambda state, x: nnx.merge(graphdef, state)(x, train=False))
    ours = np.asarray(run(rest, images)).transpose(0, 3, 1, 2)
    assert np.abs(ours - theirs).max() < 1e-5 * np.ptp(theirs)
