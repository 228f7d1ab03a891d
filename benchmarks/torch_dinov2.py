"""UniMatch V2's network, DINOv2 with a DPT head, from transformers' parts, for a comparison."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import transformers
from torch.nn import functional
from transformers.models.depth_anything.modeling_depth_anything import DepthAnythingNeck

from rcc_jax.models import dinov2_names
from rcc_jax.models.dinov2 import Size

# The parts of the head by transformers' names, and by those of UniMatch V2's files.
_HEAD = (
    (r"^last\.", "head.scratch.output_conv."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.projection\.", r"head.projects.\1."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.resize\.", r"head.resize_layers.\1."),
    (r"^neck\.convs\.(\d)\.", lambda m: f"head.scratch.layer{int(m[1]) + 1}_rn."),
    (r"^neck\.fusion_stage\.layers\.(\d)\.", lambda m: f"head.scratch.refinenet{4 - int(m[1])}."),
    (r"\.projection\.", ".out_conv."),
    (r"\.residual_layer([12])\.convolution([12])\.", r".resConfUnit\1.conv\2."),
)
# Parameters that no output depends on, by both kinds of names.
_UNUSED = (
    *("encoder.embeddings.mask_token", "neck.fusion_stage.layers.0.residual_layer1"),
    *("backbone.mask_token", "head.scratch.refinenet4.resConfUnit1"),
)


class Network(torch.nn.Module):
    """The network; `load` takes the weights of this project's.

    Args:
        size: Sizes of the network.
        num_classes: Number K of classes.
        attention: transformers' name for a way to compute attention.
    """

    def __init__(self, size: Size, num_classes: int, attention: str = "sdpa"):
        super().__init__()
        config = transformers.Dinov2Config(
            image_size=14 * size.side,
            patch_size=14,
            hidden_size=size.features,
            num_hidden_layers=size.depth,
            num_attention_heads=size.heads,
            out_features=[f"stage{level + 1}" for level in size.levels],
            apply_layernorm=True,
            reshape_hidden_states=False,
            attn_implementation=attention,
        )
        self.encoder = transformers.Dinov2Backbone(config)
        neck = transformers.DepthAnythingConfig(
            backbone_config=config,
            reassemble_hidden_size=size.features,
            reassemble_factors=[4, 2, 1, 0.5],
            neck_hidden_sizes=list(size.head_channels),
            fusion_hidden_size=size.head_features,
        )
        self.neck = DepthAnythingNeck(neck)
        width = size.head_features
        self.last = torch.nn.Sequential(
            torch.nn.Conv2d(width, width, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(width, num_classes, 1),
        )

    def used(self) -> dict[str, torch.nn.Parameter]:
        """Its parameters by transformers' names, except those that no output depends on."""
        return {k: v for k, v in self.named_parameters() if not k.startswith(_UNUSED)}

    def official(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """Tensors by transformers' names, as arrays under the names of UniMatch V2's files."""
        named = {}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            named[rest if part == "encoder" else _of_head(name)] = value.detach().numpy()
        found = dinov2_names.standard(named)
        return {k if k.startswith("head.") else f"backbone.{k}": v for k, v in found.items()}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes weights by the names of UniMatch V2's files, every one of them."""
        left = {name for name in state if not name.startswith(_UNUSED)}
        with torch.no_grad():
            for name, parameter in self.used().items():
                (key,) = self.official({name: parameter})
                part = re.match(r"(.*\.attn)\.([qkv])\.(.*)", key)
                if part:
                    key = f"{part[1]}.qkv.{part[3]}"
                    value = np.split(state[key], 3)["qkv".index(part[2])]
                else:
                    value = state[key]
                parameter.copy_(torch.from_numpy(value))
                left.discard(key)
        assert not left, left

    def decode(self, features: Sequence[torch.Tensor], size: tuple[int, int]):
        """The fused features [B, C, h, w], and the logits [B, K, *size]."""
        fused = self.neck(list(features), size[0] // 14, size[1] // 14)[-1]
        logits = functional.interpolate(
            self.last(fused), size=size, mode="bilinear", align_corners=True
        )
        return fused, logits

    def forward(self, images: torch.Tensor, complementary: bool = False) -> torch.Tensor:
        """Logits [B, K, H, W]; the rows of the second half get the other channels, if asked to."""
        features = list(self.encoder(images).feature_maps)
        if complementary:
            factor = _channel_factors(features[0])
            features = [level * factor for level in features]
        return self.decode(features, tuple(images.shape[2:]))[1]


def _channel_factors(features: torch.Tensor) -> torch.Tensor:
    """UniMatch V2's complementary dropout: factors [2 B, 1, D]; half of the pairs keep all."""
    pairs = len(features) // 2
    factor = 2 * torch.bernoulli(torch.full((pairs, 1, features.shape[-1]), 0.5))
    factor[torch.randperm(pairs)[: pairs // 2]] = 1
    return torch.cat([factor, 2 - factor]).to(features.device, features.dtype)


def _of_head(name: str) -> str:
    for pattern, replacement in _HEAD:
        name = re.sub(pattern, replacement, name)
    return name
