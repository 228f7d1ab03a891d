"""DINOv2 and the DPT head as transformers and torch have them; and one recorded run at full size.

Weights come from numpy's RandomState, whose numbers never change. With torch and transformers the
record is written anew by

python -m tests.support.torch_dinov2
"""

import json
import re

import numpy as np
import torch
import transformers
from transformers.models.depth_anything.modeling_depth_anything import DepthAnythingNeck

from rcc_jax.models import dinov2_names
from rcc_jax.models.dinov2 import SIZES
from tests.support import dinov2_record as record


class Theirs(torch.nn.Module):
    """The network of transformers' parts, and the two convolutions after the last fusion, float64.

    Args:
        size: Sizes of the network.
        num_classes: Number of classes.
    """

    def __init__(self, size, num_classes):
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
            attn_implementation="eager",
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
        self.double().eval()
        _stay_in_float64(self.encoder.embeddings, size.side)
        drawn = record.draw({k: tuple(v.shape) for k, v in self.official(self.used()).items()})
        with torch.no_grad():
            for name, value in self.used().items():
                (key,) = self.official({name: value})
                part = re.match(r"(.*\.attn)\.([qkv])\.(.*)", key)
                if part is None:
                    own = drawn[key]
                else:
                    own = np.split(drawn[f"{part[1]}.qkv.{part[3]}"], 3)["qkv".index(part[2])]
                value.copy_(torch.from_numpy(own))

    def used(self):
        """Its parameters by transformers' names, except those that no output depends on."""
        unused = ("encoder.embeddings.mask_token", "neck.fusion_stage.layers.0.residual_layer1")
        return {k: v for k, v in self.named_parameters() if not k.startswith(unused)}

    def forward(self, x):
        height, width = x.shape[2:]
        features = self.encoder(x).feature_maps
        fused = self.neck(list(features), height // 14, width // 14)[-1]
        logits = torch.nn.functional.interpolate(
            self.last(fused), size=(height, width), mode="bilinear", align_corners=True
        )
        return features, fused, logits

    def official(self, tensors):
        """Tensors by transformers' names, as arrays under the names of UniMatch V2's files."""
        named = {}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            named[rest if part == "encoder" else _of_head(name)] = value.detach().numpy()
        found = dinov2_names.standard(named)
        return {k if k.startswith("head.") else f"backbone.{k}": v for k, v in found.items()}


def _stay_in_float64(embeddings, side):
    """Makes the interpolation of positions stay in float64, which transformers' does not."""
    plain = embeddings.interpolate_pos_encoding

    def interpolate(tokens, height, width):
        if height == width == 14 * side:
            return plain(tokens, height, width)
        table = embeddings.position_embeddings
        square = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        square = torch.nn.functional.interpolate(
            square, size=(height // 14, width // 14), mode="bicubic", align_corners=False
        )
        return torch.cat([table[:, :1], square.flatten(2).transpose(1, 2)], dim=1)

    embeddings.interpolate_pos_encoding = interpolate


def _of_head(name):
    for pattern, replacement in (
        (r"^last\.", "head.scratch.output_conv."),
        (r"^neck\.reassemble_stage\.layers\.(\d)\.projection\.", r"head.projects.\1."),
        (r"^neck\.reassemble_stage\.layers\.(\d)\.resize\.", r"head.resize_layers.\1."),
        (r"\.projection\.", ".out_conv."),
        (r"\.residual_layer([12])\.convolution([12])\.", r".resConfUnit\1.conv\2."),
    ):
        name = re.sub(pattern, replacement, name)
    name = re.sub(r"^neck\.convs\.(\d)\.", lambda m: f"head.scratch.layer{int(m[1]) + 1}_rn.", name)
    return re.sub(
        r"^neck\.fusion_stage\.layers\.(\d)\.",
        lambda m: f"head.scratch.refinenet{4 - int(m[1])}.",
        name,
    )


def main():
    """Writes the record."""
    network = Theirs(SIZES[record.BACKBONE], record.NUM_CLASSES)
    with torch.no_grad():
        images = torch.from_numpy(record.images()).permute(0, 3, 1, 2)
        features, _, logits = network(images)
    found = record.summary(
        [level[:, 1:].numpy() for level in features], logits.permute(0, 2, 3, 1).numpy()
    )
    made = {"torch": torch.__version__, "transformers": transformers.__version__}
    record.PATH.write_text(json.dumps({**made, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
