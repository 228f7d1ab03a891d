"""Three steps of the real network in PyTorch, recorded: how the running statistics move.

After each step the network also labels its images in evaluation mode, by the running statistics.
All in float64, with weights of numpy's RandomState, whose numbers never change. With torch the file
is written anew by

python -m tests.support.torch_trajectory
"""

import json
import pathlib

import jax
import numpy as np
from flax import nnx

from rcc_jax.models import DeepLabV3Plus
from rcc_jax.models.torch_names import named_variables, torch_shape
from tests.support.steps import NUM_CLASSES, make_batch, make_method

RECORD = pathlib.Path(__file__).with_suffix(".json")
METHOD = make_method("supervised")
NETWORK = {
    "backbone": "resnet18",
    "stem": "v1",
    "output_stride": 16,
    "width": 8,
    "decoder_channels": 16,
    "aspp_rates": (1, 2, 3),
}
STEPS, ROWS, SIZE = 3, 2, 33
# Of `tests.support.steps.Setup`.
LEARNING_RATE, HEAD_MULTIPLIER, SCHEDULED_STEPS = 0.05, 2.0, 20
# The branch with the fewest values a channel: one an image.
POOLED = "head.b4.gap.2"


def build(key, dtype) -> DeepLabV3Plus:
    """Our network, in float64 where that is the type."""
    return DeepLabV3Plus(NUM_CLASSES, dtype=dtype, rngs=nnx.Rngs(key), **NETWORK)


def batch(step: int) -> dict:
    """The batch of a step, from 0: twice ROWS labelled images."""
    return make_batch(METHOD, ROWS, seed=step, size=SIZE)


def draw_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights and statistics by PyTorch's names, from their shapes by name."""
    draws = np.random.RandomState(0)  # noqa: NPY002
    state = {}
    for name in sorted(shapes):
        shape = shapes[name]
        if len(shape) > 1:
            state[name] = draws.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("running_mean", "bias")):
            state[name] = 0.1 * draws.standard_normal(shape)
        else:
            state[name] = draws.uniform(0.5, 1.5, shape)
    return state


def initial_state() -> dict[str, np.ndarray]:
    """The state dict that both networks start from."""
    with jax.enable_x64(True):
        model = nnx.eval_shape(lambda: build(0, np.float64))
    return draw_state({name: torch_shape(v) for name, v in named_variables(model).items()})


def statistics(state: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Numbers of the running statistics that are compared, from a state dict."""
    means = [state[name] for name in sorted(state) if name.endswith("running_mean")]
    variances = [state[name] for name in sorted(state) if name.endswith("running_var")]
    return {
        "pooled_mean": state[f"{POOLED}.running_mean"].tolist(),
        "pooled_var": state[f"{POOLED}.running_var"].tolist(),
        "mean_norms": [float(np.linalg.norm(values)) for values in means],
        "var_norms": [float(np.linalg.norm(values)) for values in variances],
    }


def summary(logits: np.ndarray) -> dict[str, list[float]]:
    """Numbers of logits [B, K, H, W] that are compared: mean and norm of each class."""
    return {
        "evaluation_means": logits.mean((0, 2, 3)).tolist(),
        "evaluation_norms": np.sqrt(np.square(logits).sum((0, 2, 3))).tolist(),
    }


def torch_trajectory() -> list[dict]:
    """Loss, statistics and logits of each step, computed by PyTorch."""
    import torch
    from torch.nn import functional

    from rcc_jax.commands.exported.torch_network import DeepLabV3Plus as TorchNetwork

    network = TorchNetwork(NUM_CLASSES, **NETWORK).double()
    state = {name: torch.from_numpy(value) for name, value in initial_state().items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    head = [p for name, p in network.named_parameters() if not name.startswith("backbone.")]
    optimizer = torch.optim.SGD(
        [{"params": network.backbone.parameters()}, {"params": head}],
        lr=LEARNING_RATE,
        momentum=0.9,
        weight_decay=1e-4,
    )
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    found = []
    for step in range(STEPS):
        rows = batch(step)["labeled"]
        pixels = ((rows["image"] / 255 - mean) / std).transpose(0, 3, 1, 2)
        images = torch.from_numpy(np.ascontiguousarray(pixels))
        label = torch.from_numpy(rows["label"].astype(np.int64))
        rate = LEARNING_RATE * (1 - step / SCHEDULED_STEPS) ** 0.9
        for group, factor in zip(optimizer.param_groups, (1, HEAD_MULTIPLIER), strict=True):
            group["lr"] = rate * factor
        loss = functional.cross_entropy(network.train()(images), label, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            logits = network.eval()(images).numpy()
        state = {name: value.numpy() for name, value in network.state_dict().items()}
        found.append({"loss": loss.item(), **statistics(state), **summary(logits)})
    return found


def main() -> None:
    import torch

    record = {"torch": torch.__version__, "steps": torch_trajectory()}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
