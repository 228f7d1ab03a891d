"""A UniMatch step of this project compared with one in PyTorch, alternating in one process.

    pip install torch==2.13.0
    python benchmarks/torch_step.py --size=full
    python benchmarks/torch_step.py --size=full --dtype=bfloat16 --compile

Both use the same network, weights, batch, losses and type on the same device. The forward passes of
PyTorch's step follow the public code of UniMatch (channels_last, the partner's pass without
gradients), in bfloat16 with automatic casts; --compile compiles it. The losses of the first step
are printed side by side. They differ because of the randomly dropped channels, which share
BatchNorm with the rest of their pass. Both have the huge pages that main.py asks for.
"""

import argparse
import contextlib
import os
import pathlib
import tempfile
import time

import environment
import jax
import numpy as np
import steps
import torch
from flax import nnx
from safetensors.numpy import load_file
from torch.nn import functional

from rcc_jax.commands.exported.torch_network import DeepLabV3Plus
from rcc_jax.methods import METHODS
from rcc_jax.methods.cutmix import box_masks, cutmix
from rcc_jax.models.network import normalize
from rcc_jax.models.pretrained import save_torch

# At 0.95 an untrained network would keep no pixel, and the terms could not be compared.
THRESHOLD = 0.0


class Network(DeepLabV3Plus):
    """Also decodes features with dropped channels, as UniMatch does."""

    def forward(self, images, perturb=False):
        low, high = self.backbone(images)
        if perturb:
            low, high = (torch.cat([x, functional.dropout2d(x, 0.5)]) for x in (low, high))
        high = _resize(self.head(high), low)
        logits = _resize(self.classifier(self.fuse(torch.cat([self.reduce(low), high], 1))), images)
        return logits.chunk(2) if perturb else logits


def _resize(x, like):
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)


class TorchStep:
    """A training step of PyTorch with its network and optimizer."""

    def __init__(self, setup: steps.Setup, arguments: argparse.Namespace):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        network = Network(
            steps.NUM_CLASSES,
            backbone=arguments.backbone,
            stem="deep",
            output_stride=16,
            width=arguments.width,
            decoder_channels=4 * arguments.width,
            aspp_rates=(6, 12, 18),
        )
        network.load_state_dict(_torch_state(setup), strict=True)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.run = torch.compile(self.network) if arguments.compile else self.network
        self.narrow = arguments.dtype == "bfloat16"
        head = [p for n, p in network.named_parameters() if not n.startswith("backbone.")]
        self.optimizer = torch.optim.SGD(
            [{"params": network.backbone.parameters()}, {"params": head, "lr": 0.01}],
            lr=0.001,
            momentum=0.9,
            weight_decay=1e-4,
        )
        self.batch = self._load(jax.device_get(setup.batch))
        self.terms = self.step()
        for _ in range(steps.WARM_UP_STEPS):
            self.seconds()

    def _load(self, batch) -> dict[str, torch.Tensor]:
        """Normalised images [B, 3, H, W], labels and masks [B, H, W] on the device."""

        def image(pixels):
            pixels = np.array(normalize(pixels)).transpose(0, 3, 1, 2)
            tensor = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)
            return tensor.contiguous(memory_format=torch.channels_last)

        labeled, own, partner = (batch[name] for name in ("labeled", "unlabeled", "partner"))
        height, width = own["valid"].shape[1:]
        pasted = [box_masks(own["boxes"][:, i], height, width) for i in range(2)]
        mixed = [
            np.asarray(cutmix(mask, partner[name], own[name]))
            for mask, name in zip(pasted, ("strong1", "strong2"), strict=True)
        ]
        loaded = {
            "labeled": image(labeled["image"]),
            "weak": image(own["weak"]),
            "partner": image(partner["weak"]),
            "strong": torch.cat([image(pixels) for pixels in mixed]),
        }
        rest = {
            "label": labeled["label"].astype(np.int64),
            "valid": own["valid"],
            "partner_valid": partner["valid"],
            "pasted": np.stack([np.asarray(mask) for mask in pasted]),
        }
        tensors = {name: torch.tensor(value, device=self.device) for name, value in rest.items()}
        return {**loaded, **tensors}

    def _logits(self, images, **options):
        """Logits in float32, as ours."""
        narrow = torch.autocast(self.device.type, torch.bfloat16)
        with narrow if self.narrow else contextlib.nullcontext():
            logits = self.run(images, **options)
        if isinstance(logits, tuple):
            return tuple(part.float() for part in logits)
        return logits.float()

    def step(self) -> dict[str, float]:
        """Makes one update; returns the terms of the loss before it."""
        batch = self.batch
        self.network.eval()
        with torch.no_grad():
            partner = self._logits(batch["partner"]).softmax(1).max(1)
        self.network.train()
        clean, dropped = self._logits(torch.cat([batch["labeled"], batch["weak"]]), perturb=True)
        labeled, weak = clean.chunk(2)
        own = weak.detach().softmax(1).max(1)
        strong = self._logits(batch["strong"]).chunk(2)
        terms = {
            "loss_labeled": functional.cross_entropy(labeled, batch["label"], ignore_index=255),
            "loss_perturbed": _kept_mean(dropped.chunk(2)[1], *own, batch["valid"]),
        }
        for number, (logits, mask) in enumerate(zip(strong, batch["pasted"], strict=True), 1):
            confidence, label = (torch.where(mask, p, o) for p, o in zip(partner, own, strict=True))
            valid = torch.where(mask, batch["partner_valid"], batch["valid"])
            terms[f"loss_strong{number}"] = _kept_mean(logits, confidence, label, valid)
        loss = (
            terms["loss_labeled"]
            + (terms["loss_strong1"] + terms["loss_strong2"]) / 4
            + terms["loss_perturbed"] / 2
        ) / 2
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {name: float(term.detach()) for name, term in terms.items()}

    def seconds(self) -> float:
        """Takes one step and returns how long it took; reading the terms waits for the device."""
        start = time.perf_counter()
        self.step()
        return time.perf_counter() - start


def _kept_mean(logits, confidence, label, valid):
    losses = functional.cross_entropy(logits, label, reduction="none")
    return (losses * ((confidence >= THRESHOLD) & valid)).sum() / valid.sum()


def _torch_state(setup: steps.Setup) -> dict[str, torch.Tensor]:
    model = nnx.merge(setup.network.graphdef, setup.weights.params, setup.weights.stats)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "weights.safetensors"
        save_torch(model, path)
        return {name: torch.from_numpy(array) for name, array in load_file(path).items()}


def main() -> None:
    environment.ask_for_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps.add_arguments(parser)
    parser.add_argument("--compile", action="store_true", help="compile PyTorch's network")
    parser.add_argument("--dtype", choices=steps.DTYPES, default="float32")
    arguments = steps.parse(parser)
    setting = {**steps.setting(arguments), "dtype": arguments.dtype}
    print({**setting, "torch": torch.__version__}, flush=True)
    setup = steps.Setup(
        arguments.backbone,
        arguments.width,
        arguments.crop,
        arguments.batch,
        dtype=arguments.dtype,
    )
    method = METHODS["unimatch"](confidence_threshold=THRESHOLD)
    ours, theirs = steps.Step(setup, method), TorchStep(setup, arguments)
    for name in theirs.terms:
        print(f"{name}: {ours.terms[name]:.6f}, PyTorch {theirs.terms[name]:.6f}")
    jax_seconds, torch_seconds = steps.alternate(ours, theirs, arguments.pairs, pause=0.5)
    ratio, low, high = steps.median_interval(torch_seconds / jax_seconds)
    print(
        f"s per step: rcc-jax {np.median(jax_seconds):.3f}, "
        f"PyTorch {np.median(torch_seconds):.3f}\n"
        f"PyTorch / rcc-jax {ratio:.2f} (95% interval {low:.2f} to {high:.2f})"
    )
    steps.write_record(
        arguments,
        torch=torch.__version__,
        torch_compiled=arguments.compile,
        dtype=arguments.dtype,
        jax_seconds=float(np.median(jax_seconds)),
        torch_seconds=float(np.median(torch_seconds)),
        ratio=ratio,
        ratio_interval=[low, high],
        first_terms={"rcc-jax": ours.terms, "torch": theirs.terms},
    )


if __name__ == "__main__":
    main()
