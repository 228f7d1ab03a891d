"""The exported network in PyTorch, with UniMatch's module names, and its export to ONNX.

Needs torch and safetensors. As a command, with onnx and onnxscript too:
python torch_network.py MODEL.onnx
"""

# This script is only copied into exports. The project does not import it, and it imports nothing of
# the project.
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

BLOCKS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
BLOCKS |= {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet50_c4": (3, 4, 6, 0)}


def conv(features: int, out: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(features, out, kernel, stride, padding, dilation, bias=False)


def unit(*arguments) -> list[nn.Module]:
    layer = conv(*arguments)
    return [layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU()]


class Block(nn.Module):
    """A residual block, basic or with a bottleneck."""

    def __init__(self, features: int, planes: int, out: int, stride: int, dilation: int):
        super().__init__()
        self.conv3 = None
        if out == planes:
            self.conv1 = conv(features, planes, 3, stride, dilation)
            self.conv2 = conv(planes, planes, 3, 1, dilation)
        else:
            self.conv1 = conv(features, planes, 1)
            self.conv2 = conv(planes, planes, 3, stride, dilation)
            self.conv3, self.bn3 = conv(planes, out, 1), nn.BatchNorm2d(out)
        self.bn1, self.bn2 = nn.BatchNorm2d(planes), nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or features != out:
            self.downsample = nn.Sequential(conv(features, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.conv3 is not None:
            y = self.bn3(self.conv3(y.relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    """Features of the first and of the last stage."""

    def __init__(self, name: str, stem: str, output_stride: int, width: int):
        super().__init__()
        features = width if stem == "v1" else 2 * width
        self.conv1 = conv(3, width, 7, 2)
        if stem == "deep":
            middle = unit(width, width, 3)
            self.conv1 = nn.Sequential(*unit(3, width, 3, 2), *middle, conv(width, features, 3))
        self.bn1 = nn.BatchNorm2d(features)
        expansion = 1 if name in ("resnet10", "resnet18", "resnet34") else 4
        size, dilation = 4, 1
        for stage, count in enumerate(BLOCKS[name]):
            planes, stride, before = width * 2**stage, 1, dilation
            if stage and size < output_stride:
                size, stride = 2 * size, 2
            elif stage:
                dilation *= 2
            blocks = []
            for number in range(count):
                shape = (features, planes, planes * expansion)
                first = number == 0
                blocks.append(Block(*shape, *((stride, before) if first else (1, dilation))))
                features = planes * expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.low, self.high = width * expansion, features

    def forward(self, x):
        x = functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        low = self.layer1(x)
        return low, self.layer4(self.layer3(self.layer2(low)))


class Pooling(nn.Module):
    """The mean of all pixels."""

    def __init__(self, features: int, out: int):
        super().__init__()
        self.gap = nn.Sequential(nn.AdaptiveAvgPool2d(1), *unit(features, out, 1))

    def forward(self, x):
        return self.gap(x).expand(-1, -1, *x.shape[2:])


class Pyramid(nn.Module):
    """Five parallel branches."""

    def __init__(self, features: int, out: int, rates):
        super().__init__()
        self.b0 = nn.Sequential(*unit(features, out, 1))
        self.b1, self.b2, self.b3 = (
            nn.Sequential(*unit(features, out, 3, 1, rate)) for rate in rates
        )
        self.b4 = Pooling(features, out)
        self.project = nn.Sequential(*unit(5 * out, out, 1))

    def forward(self, x):
        return self.project(
            torch.cat([b(x) for b in (self.b0, self.b1, self.b2, self.b3, self.b4)], 1)
        )


class DeepLabV3Plus(nn.Module):
    """From normalised images [B, 3, H, W] to logits [B, K, H, W]."""

    def __init__(
        self, num_classes, *, backbone, stem, output_stride, width, decoder_channels, aspp_rates
    ):
        super().__init__()
        channels, reduced = decoder_channels, decoder_channels * 48 // 256
        self.backbone = ResNet(backbone, stem, output_stride, width)
        self.head = Pyramid(self.backbone.high, channels, aspp_rates)
        self.reduce = nn.Sequential(*unit(self.backbone.low, reduced, 1))
        second = unit(channels, channels, 3)
        self.fuse = nn.Sequential(*unit(reduced + channels, channels, 3), *second)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, images):
        def resize(x, like):
            return functional.interpolate(
                x, size=like.shape[2:], mode="bilinear", align_corners=True
            )

        low, high = self.backbone(images)
        both = torch.cat([self.reduce(low), resize(self.head(high), low)], 1)
        return resize(self.classifier(self.fuse(both)), images)


class FromImages(nn.Module):
    """From RGB images, uint8 [B, H, W, 3], to logits, float32 [B, H, W, K]."""

    def __init__(self, network: nn.Module, mean, std):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(self, images):
        normalised = (images.float() / 255 - self.mean) / self.std
        return self.network(normalised.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def load(folder=pathlib.Path(__file__).parent) -> FromImages:
    """The network with the weights of an export, in evaluation mode."""
    record = json.loads(pathlib.Path(folder, "model.json").read_text())
    fields = {name: value for name, value in record["weights"].items() if name != "meaning"}
    mean, std = fields.pop("mean"), fields.pop("std")
    network = DeepLabV3Plus(len(record["classes"]), **fields)
    network.load_state_dict(load_file(pathlib.Path(folder, "weights.safetensors")), strict=True)
    return FromImages(network, mean, std).eval()


def write_onnx(model: nn.Module, path) -> None:
    """An ONNX file from images to logits, of any batch and size."""
    example = torch.zeros((2, 97, 129, 3), dtype=torch.uint8)
    sizes = dict.fromkeys(range(3), torch.export.Dim.DYNAMIC)
    names = {"input_names": ["images"], "output_names": ["logits"]}
    options = {"dynamic_shapes": (sizes,), "external_data": False, "verbose": False}
    torch.onnx.export(model, (example,), path, dynamo=True, **names, **options)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python torch_network.py MODEL.onnx", file=sys.stderr)
        sys.exit(2)
    write_onnx(load(), sys.argv[1])
