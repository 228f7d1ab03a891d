"""DINOv2 and the DPT head as transformers and torch have them; and one recorded run at full size.

Weights come from numpy's RandomState, whose numbers never change. With torch and transformers the
record is written anew by

python -m tests.support.torch_dinov2
"""

import json

import torch
import transformers

from benchmarks.torch_dinov2 import Network
from rcc_jax.models.dinov2 import SIZES
from tests.support import dinov2_record as record


class Theirs(Network):
    """The network in float64 with drawn weights; it returns features, fused features and logits.

    Args:
        size: Sizes of the network.
        num_classes: Number of classes.
    """

    def __init__(self, size, num_classes):
        super().__init__(size, num_classes, attention="eager")
        self.double().eval()
        _stay_in_float64(self.encoder.embeddings, size.side)
        self.load(record.draw({k: tuple(v.shape) for k, v in self.official(self.used()).items()}))

    def forward(self, x):
        features = self.encoder(x).feature_maps
        return features, *self.decode(features, tuple(x.shape[2:]))


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
