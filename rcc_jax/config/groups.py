"""The groups of a configuration with their fields, except for `method`; no JAX."""

import dataclasses
from collections.abc import Mapping

from rcc_jax.config.data_group import Data
from rcc_jax.models import families
from rcc_jax.options import option

_SLIDING = ("mode", "sliding")


@dataclasses.dataclass(frozen=True)
class Top:
    """Fields outside the groups."""

    seed: int = option(
        0, "The seed of the initial weights, of all random views and of all shuffles.",
        at_least=0, short="seed",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Model:
    """The network and its initial weights."""

    backbone: str = option(
        "resnet50",
        "The encoder.",
        choices=tuple(families.BACKBONES),
        short="backbone",
    )
    stem: str = option(
        "deep",
        "'deep': three 3x3 convolutions (UniMatch's weights). 'v1': one 7x7 (torchvision's).",
        choices=("deep", "v1"),
        only="resnet",
    )
    output_stride: int = option(
        16,
        "Ratio of the image size to the size of the last features.",
        choices=(8, 16),
        only="resnet",
    )
    width: int = option(
        64,
        "3x3 channels of the first stage; 64 is a standard ResNet.",
        at_least=1,
        only="resnet",
    )
    decoder_channels: int = option(256, "Channels of the decoder.", at_least=6, only="resnet")
    aspp_rates: tuple = option(
        (6, 12, 18), "Dilations of the three ASPP branches, in features.", only="resnet"
    )
    pretrained: str = option(
        "",
        "Initial weights: a file (.npz, .safetensors, .pth) of the backbone or the network; the "
        "folder of a run; 'hub:OWNER/NAME' or 'hub:OWNER/NAME@REVISION' on the Hugging Face hub, "
        "downloaded once; a short name of those of the backbone, such as 'imagenet'; 'auto', the "
        "usual ones if the hub can be reached, else random weights. Empty = random weights.",
    )
    allow_missing: str = option(
        "",
        "Comma-separated parts that the file may lack, such as 'layer4'; they start from random "
        "weights.",
    )
    allow_unused: str = option(
        "fc",
        "Comma-separated parts of the file that may stay unused; 'fc' is the ImageNet classifier.",
    )
    dtype: str = option(
        "float32",
        "Data type of the computation. Weights are float32, except with float64.",
        choices=("float32", "bfloat16", "float64"),
    )
    remat: bool = option(
        False,
        "Recompute the encoder's blocks in the backward pass: less memory, more time. On a "
        "CPU XLA undoes it, and memory grows by a tenth.",
    )
    freeze_encoder: bool = option(
        False,
        "Train the head alone. The encoder keeps its weights and the running statistics of its "
        "BatchNorm; a step computes no gradient for it.",
        before=False,
    )
    freeze_bn: bool = option(
        False, "Use the running statistics of BatchNorm in training too.", only="resnet"
    )


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """SGD or AdamW with a polynomial learning rate."""

    name: str = option(
        "sgd",
        "'sgd' with momentum, as UniMatch trains a ResNet; 'adamw', as UniMatch V2 trains a "
        "transformer.",
        choices=("sgd", "adamw"),
        before="sgd",
    )
    learning_rate: float = option(
        0.001, "Learning rate lr0 of the backbone: lr0 * (1 - t / T) ** power.", above=0
    )
    head_multiplier: float = option(
        10.0, "Factor on the learning rate outside the backbone.", above=0
    )
    momentum: float = option(0.9, "Decay of the momentum.", at_least=0, below=1, only="sgd")
    beta1: float = option(
        0.9, "Decay of the mean gradient.", at_least=0, below=1, only="adamw", before=0.9
    )
    beta2: float = option(
        0.999,
        "Decay of the mean squared gradient.",
        at_least=0,
        below=1,
        only="adamw",
        before=0.999,
    )
    weight_decay: float = option(
        1e-4,
        "Weight decay of all parameters; 'sgd' adds it to the gradient, 'adamw' to the update.",
        at_least=0,
    )
    power: float = option(0.9, "Power of the learning rate's decay.", at_least=0)


@dataclasses.dataclass(frozen=True)
class Train:
    """Length, batch and behaviour of the training."""

    batch_size: int = option(
        8,
        "GLOBAL batch size: the number of labelled and also of unlabelled images per step, over "
        "all devices. Supervised training takes twice as many labelled images instead.",
        at_least=1,
    )
    num_epochs: int = option(
        80,
        "Length in epochs, that is passes over the unlabelled (supervised: the labelled) images.",
        at_least=0,
    )
    num_steps: int = option(0, "Length in steps; if above 0, it replaces num_epochs.", at_least=0)
    accumulation: int = option(
        1,
        "Number of parts that a batch is split into to save memory. BatchNorm, OHEM and the random "
        "draws of a method (dropped channels, mixed images) then belong to a part. The result is "
        "the same as with 1 only without them.",
        at_least=1,
    )
    deterministic: bool = option(
        False, "Make GPU runs bit-exact, at some cost in speed. CPU runs always are."
    )
    on_nonfinite: str = option(
        "stop",
        "What happens if the loss or gradient of a step is not finite: 'stop' ends the run and "
        "keeps the state before the step beside the checkpoints; 'skip' omits the update.",
        choices=("stop", "skip"),
        may_change=True,
    )
    max_nonfinite: int = option(
        5,
        "Number of consecutive steps that 'skip' may skip.",
        at_least=1,
        may_change=True,
        only_with=("on_nonfinite", "skip"),
    )
    log_every: int = option(50, "Steps between two lines of the log.", at_least=1, may_change=True)
    compilation_cache: str = option(
        "auto",
        "Folder where compiled programs are kept between runs; 'auto' = in the user's cache "
        "folder, empty = none.",
        may_change=True,
        per_process=True,
    )


@dataclasses.dataclass(frozen=True)
class Eval:
    """Validation; all fields may change when a run resumes."""

    mode: str = option(
        "whole",
        "'whole': every image at its own size. 'sliding': windows of `window` pixels.",
        choices=("whole", "sliding"),
        may_change=True,
    )
    every_steps: int = option(
        0,
        "Steps between two evaluations; 0 = once per epoch. The last step always has one.",
        at_least=0,
        may_change=True,
    )
    batch_size: int = option(
        8,
        "Number of images of one size evaluated together, over all devices of all processes.",
        at_least=1,
        may_change=True,
    )
    max_shapes: int = option(
        8,
        "'whole': the largest number of image sizes to compile the network for. If the validation "
        "images have more sizes, they are padded to this many, with the same result up to "
        "rounding; 0 = never pad. A vision transformer is compiled for each size, in multiples of "
        "14 pixels, that images are resized to, however many there are.",
        at_least=0,
        may_change=True,
        only_with=("mode", "whole"),
    )
    window: int = option(
        801, "Side of a sliding window in pixels.",
        at_least=1, may_change=True, only_with=_SLIDING,
    )  # fmt: skip
    stride: int = option(
        534, "Distance between two windows in pixels.",
        at_least=1, may_change=True, only_with=_SLIDING,
    )  # fmt: skip
    windows: str = option(
        "shifted",
        "Windows at the right and lower border are 'shifted' back into the image, which predicts "
        "better, or 'cut' off, as in UniMatch's evaluation of Cityscapes.",
        choices=("cut", "shifted"),
        may_change=True,
        only_with=_SLIDING,
        before="shifted",
    )
    flip: bool = option(
        False, "Average with the prediction of the mirrored image.", may_change=True
    )
    scales: tuple = option(
        (1.0,), "Average over the image resized by these factors.", may_change=True
    )
    pictures: int = option(
        4,
        "Number of validation images, and of unlabelled ones, drawn into `pictures/` and "
        "TensorBoard at each evaluation; 0 = none.",
        at_least=0,
        may_change=True,
    )


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Saved states."""

    every_steps: int = option(
        0,
        "Steps between two checkpoints; 0 = only at evaluations, which always save one.",
        at_least=0,
        may_change=True,
    )
    keep: int = option(
        2, "Number of newest checkpoints kept besides the best.", at_least=1, may_change=True
    )
    milestones: int = option(
        0,
        "Number N of checkpoints, after 1/N, 2/N, ..., N/N of the steps, that are kept besides; "
        "0 = none.",
        at_least=0,
        may_change=True,
        before=0,
    )


GROUPS: Mapping[str, type] = {
    "data": Data,
    "model": Model,
    "optimizer": Optimizer,
    "train": Train,
    "eval": Eval,
    "checkpoint": Checkpoint,
}
