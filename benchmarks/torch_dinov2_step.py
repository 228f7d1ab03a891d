"""Steps on DINOv2-S with a DPT head against PyTorch's, alternating in one process.

    pip install torch==2.13.0 transformers
    python benchmarks/torch_dinov2_step.py
    python benchmarks/torch_dinov2_step.py --backbone=dinov2_base --dtype=bfloat16
    python benchmarks/torch_dinov2_step.py --frozen

The labels alone and UniMatch V2, at the sizes of configs/msrc.py: the same network, weights, batch
and losses on the same device. PyTorch's step follows the public code of UniMatch V2, with fused
attention and, in bfloat16, automatic casts. With --frozen both leave the encoder as it is:
no gradients, no update, no average. The losses of the first step are printed side by side;
those of the strong views differ by the channels that are drawn.
"""

import argparse
import contextlib
import copy
import importlib.metadata
import json
import os
import pathlib
import tempfile
import time

import environment
import jax
import method_cost
import numpy as np
import steps
import torch
from flax import nnx
from safetensors.numpy import load_file
from torch.nn import functional
from torch_dinov2 import Network

from rcc_jax.methods.cutmix import box_masks, cutmix
from rcc_jax.models.dinov2 import SIZES
from rcc_jax.models.network import normalize
from rcc_jax.models.pretrained import save_torch

METHODS = ("supervised", "unimatch_v2")
EMA = 0.99
# At 0.95 an untrained network would keep no pixel, and the terms could not be compared.
THRESHOLD = 0.0


class TorchStep:
    """A training step of PyTorch with its network, EMA teacher and optimizer."""

    def __init__(self, setup: method_cost.Setup, method: str, arguments: argparse.Namespace):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self.network = Network(SIZES[arguments.backbone], setup.run.config.data.num_classes)
        self.network.load(_official_weights(setup))
        self.network.to(self.device)
        self.teacher = copy.deepcopy(self.network).requires_grad_(False)
        encoder = list(self.network.encoder.parameters())
        head = [p for n, p in self.network.named_parameters() if not n.startswith("encoder.")]
        groups = [{"params": head, "lr": 1e-3}]
        if arguments.frozen:
            self.network.encoder.requires_grad_(False)
        else:
            groups.append({"params": encoder, "lr": 2e-5})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
        self.narrow = arguments.dtype == "bfloat16"
        self.losses = self._labeled_only if method == "supervised" else self._unimatch_v2
        self.batch = self._load(jax.device_get(setup.batch))
        self.terms = self.step()
        for _ in range(steps.WARM_UP_STEPS):
            self.seconds()

    def _load(self, batch) -> dict:
        def image(pixels):
            pixels = np.array(normalize(pixels)).transpose(0, 3, 1, 2)
            return torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)

        labeled, own, partner = (batch[name] for name in ("labeled", "unlabeled", "partner"))
        pasted = [box_masks(own["boxes"][:, i], *own["valid"].shape[1:]) for i in range(2)]
        mixed = [
            np.asarray(cutmix(mask, partner[name], own[name]))
            for mask, name in zip(pasted, ("strong1", "strong2"), strict=True)
        ]
        masks = {"valid": own["valid"], "partner_valid": partner["valid"]}
        return {
            "image": image(labeled["image"]),
            "label": torch.tensor(labeled["label"].astype(np.int64), device=self.device),
            "weak": image(own["weak"]),
            "partner": image(partner["weak"]),
            "strong": torch.cat([image(pixels) for pixels in mixed]),
            "pasted": torch.tensor(np.stack([np.asarray(m) for m in pasted]), device=self.device),
            **{k: torch.tensor(v, device=self.device) for k, v in masks.items()},
        }

    def step(self) -> dict[str, float]:
        """Makes one update; returns the terms of the loss before it."""
        loss, terms = self.losses()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            pairs = zip(self.teacher.parameters(), self.network.parameters(), strict=True)
            teachers, students = zip(*(x for x in pairs if x[1].requires_grad), strict=True)
            torch._foreach_lerp_(teachers, students, 1 - EMA)
        return {name: float(term.detach()) for name, term in terms.items()}

    def _casts(self):
        if not self.narrow:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _labeled_only(self):
        with self._casts():
            logits = self.network(self.batch["image"])
        loss = functional.cross_entropy(logits.float(), self.batch["label"], ignore_index=255)
        return loss, {"loss_labeled": loss}

    def _unimatch_v2(self):
        batch = self.batch
        with torch.no_grad(), self._casts():
            weak = [self.teacher(batch[name]).float() for name in ("weak", "partner")]
        own, partner = (logits.softmax(1).max(1) for logits in weak)
        labeled, terms = self._labeled_only()
        with self._casts():
            strong = self.network(batch["strong"], complementary=True).float().chunk(2)
        for number, (logits, mask) in enumerate(zip(strong, batch["pasted"], strict=True), 1):
            confidence, label = (torch.where(mask, p, o) for p, o in zip(partner, own, strict=True))
            valid = torch.where(mask, batch["partner_valid"], batch["valid"])
            losses = functional.cross_entropy(logits, label, reduction="none")
            kept = (losses * ((confidence >= THRESHOLD) & valid)).sum() / valid.sum()
            terms[f"loss_strong{number}"] = kept
        return (labeled + (terms["loss_strong1"] + terms["loss_strong2"]) / 2) / 2, terms

    def seconds(self) -> float:
        """Takes one step and returns how long it took; reading the terms waits for the device."""
        start = time.perf_counter()
        self.step()
        return time.perf_counter() - start


def _official_weights(setup: method_cost.Setup) -> dict[str, np.ndarray]:
    weights = setup.state(None).weights
    model = nnx.merge(setup.network.graphdef, *jax.device_get((weights.params, weights.stats)))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "weights.safetensors"
        save_torch(model, path)
        return load_file(path)


def compare(method: str, arguments: argparse.Namespace) -> dict:
    """Times both steps of a method in turns."""
    cell = f"configs/msrc.py:20,backbone={arguments.backbone},ema={EMA}"
    config = method_cost.configured(cell, method, arguments.dtype)
    config.data.crop_size, config.train.batch_size = arguments.crop, arguments.batch
    config.model.freeze_encoder = arguments.frozen
    if method != "supervised":
        config.method.confidence_threshold = THRESHOLD
    setup = method_cost.Setup(config)
    ours = steps.Step(setup, setup.run.method)
    theirs = TorchStep(setup, method, arguments)
    print(f"{method}, {len(theirs.batch['image'])} labelled images")
    for name, term in theirs.terms.items():
        print(f"  {name}: {ours.terms[name]:.6f}, PyTorch {term:.6f}")
    seconds, torch_seconds = steps.alternate(ours, theirs, arguments.pairs, pause=0.5)
    ratio, low, high = steps.median_interval(torch_seconds / seconds)
    print(
        f"  s per step: rcc-jax {np.median(seconds):.3f}, PyTorch {np.median(torch_seconds):.3f}; "
        f"PyTorch / rcc-jax {ratio:.2f} (95% interval {low:.2f} to {high:.2f})",
        flush=True,
    )
    return {
        "method": method,
        "jax_seconds": float(np.median(seconds)),
        "torch_seconds": float(np.median(torch_seconds)),
        "ratio": ratio,
        "ratio_interval": [low, high],
        "first_terms": {"rcc-jax": ours.terms, "torch": theirs.terms},
    }


def main() -> None:
    environment.ask_for_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=SIZES, default="dinov2_small")
    parser.add_argument("--dtype", choices=steps.DTYPES, default="float32")
    parser.add_argument("--frozen", action="store_true", help="train the head alone")
    parser.add_argument("--crop", type=int, default=168)
    parser.add_argument("--batch", type=int, default=4, help="unlabelled images per step")
    parser.add_argument("--pairs", type=int, default=10, help="number of timed turns")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    arguments = parser.parse_args()
    setting = {k: v for k, v in vars(arguments).items() if k != "results"}
    print({**setting, "torch": torch.__version__}, flush=True)
    found = [compare(method, arguments) for method in arguments.methods.split(",")]
    if arguments.results:
        packages = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
        record = {**environment.describe(), **packages, "setting": setting}
        arguments.results.write_text(json.dumps({**record, "steps": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
