"""Networks: ResNet backbones and DeepLabv3+ as Flax NNX modules, and their pretrained weights."""

from rcc_jax.models.deeplabv3plus import DeepLabV3Plus
from rcc_jax.models.resnet import BACKBONES, STEMS

__all__ = ["BACKBONES", "STEMS", "DeepLabV3Plus"]
