"""Every field of a configuration: default, bounds and meaning, once; no JAX.

`configs/common.py` makes a configuration of it. The fields of the group `method` are those of the
training methods (rcc_jax/methods), where they are declared.
"""

import dataclasses
from collections.abc import Mapping

import ml_collections

from rcc_jax.methods import METHODS
from rcc_jax.options import Option, option, options


@dataclasses.dataclass(frozen=True)
class Top:
    """Fields that belong to no group."""

    seed: int = option(
        0, "One seed for the initial weights, every draw of the views and every shuffle.",
        at_least=0, short="seed",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Data:
    """The images, the masks and how they are read."""

    name: str = option(
        "",
        "What tables call the data set. 'pascal...', 'cityscapes' and 'camvid' are drawn in their "
        "own colours.",
    )
    partition: str = option("", "What tables call the partition.")
    source: str = option(
        "folder",
        "'folder': list files, folders or globs below `root`. 'tfds': a TFDS dataset in "
        "ArrayRecord. 'scenes': drawn on the fly.",
        choices=("folder", "tfds", "scenes"),
    )
    root: str = option(
        "",
        "Folder that the paths in the lists are relative to. 'tfds': folder of the dataset, with "
        "or without its version.",
        may_change=True,
        per_process=True,
    )
    labeled: str = option(
        "",
        "Labelled images: a list of `image label` lines, relative to `root` or to the working "
        "directory; or a folder of masks, each named like its image in `images` beside that "
        "folder (or in the folder `train`). 'tfds': a list whose first column is a key of the "
        "dataset, or a slice such as train[:100]. 'scenes': START:STOP numbers. Empty with "
        "'folder': rcc_jax/config/guess.py looks for it.",
    )
    unlabeled: str = option(
        "",
        "Unlabelled images: a list, a folder or a glob, or several with commas between; images of "
        "the other parts are left out of folders and globs.",
    )
    val: str = option(
        "",
        "Validation images, as `labeled`; or a share of the labelled images, such as 0.2. 'tfds': "
        "empty is the split 'validation' or 'val'.",
    )
    train: str = option(
        "",
        "All training images, a list, a folder or a glob; where `unlabeled` is empty, those that "
        "are neither labelled nor for validation are the unlabelled ones. 'tfds': empty is the "
        "split 'train'.",
    )
    image_feature: str = option("image", "'tfds': name of the feature that holds the image.")
    label_feature: str = option("label", "'tfds': name of the feature that holds the mask.")
    num_classes: int = option(
        21,
        "Number of classes K; labels are 0..K-1 and 255 (ignored). 'folder': 0 = found in the "
        "masks, with the tables below where they need one.",
        at_least=2,
        at_most=255,
    )
    class_names: tuple = option(
        (), "Names in the order of the ids, or empty; --config.data.class_names=water,sand,coral."
    )
    crop_size: int = option(
        513,
        "Side of the square training crop in pixels. 'folder': 0 = by the size of the masks.",
        at_least=1,
    )
    cutmix_partner: str = option(
        "other",
        "CutMix pastes a box of 'other', another unlabelled image, as the paper says; or of "
        "'same', another crop of the same image, as UniMatch's code does.",
        choices=("other", "same"),
        before="other",
    )
    label_map: str = option(
        "",
        "Changes raw ids of 'L' and palette masks: 'RAW:ID,RAW:ID,*:ID'; '*' is every other id.",
    )
    colormap: str = option("", "Reads RGB masks: '#rrggbb:ID,#rrggbb:ID,*:255'.")
    num_threads: int = option(
        4,
        "Threads that decode and augment. The batches are the same for any number.",
        at_least=1,
        may_change=True,
        per_process=True,
    )
    num_workers: int = option(
        0,
        "Worker processes for the same, 0 = none. The batches are the same for any number.",
        at_least=0,
        may_change=True,
        per_process=True,
    )
    on_error: str = option(
        "stop",
        "A training image or mask that cannot be used: 'stop' names it and ends the run; 'skip' "
        "takes the next one of its list instead and writes it to bad_files.jsonl. Validation "
        "images always stop, and so do files that are missing at the start.",
        choices=("stop", "skip"),
        may_change=True,
    )
    max_bad: int = option(100, "Most files that 'skip' may leave out.", at_least=0, may_change=True)


@dataclasses.dataclass(frozen=True)
class Model:
    """The network and its initial weights."""

    backbone: str = option(
        "resnet50",
        "The encoder.",
        choices=("resnet18", "resnet34", "resnet50", "resnet101"),
        short="backbone",
    )
    stem: str = option(
        "deep",
        "'deep': three 3x3 convolutions (UniMatch's weights). 'v1': one 7x7 (torchvision's).",
        choices=("deep", "v1"),
    )
    output_stride: int = option(
        16, "How much smaller the last features are than the image.", choices=(8, 16)
    )
    width: int = option(64, "Channels of the first stage; 64 is a standard ResNet.", at_least=1)
    decoder_channels: int = option(256, "Channels of the decoder.", at_least=1)
    aspp_rates: tuple = option((6, 12, 18), "Dilations of the three ASPP branches, in features.")
    pretrained: str = option(
        "",
        "Weights file (.npz, .safetensors, .pth) of the backbone or the network, or the folder of "
        "a run to start from; empty = random weights.",
    )
    allow_missing: str = option(
        "",
        "Comma-separated parts that the file may lack and that then start from random numbers, "
        "such as 'layer4'.",
    )
    allow_unused: str = option(
        "fc", "Parts that the file may have in excess; 'fc' is the classifier of ImageNet."
    )
    dtype: str = option(
        "float32",
        "Type of the computation. Weights are float32, except with float64.",
        choices=("float32", "bfloat16", "float64"),
    )
    remat: bool = option(
        False, "Recompute residual blocks in the backward pass: less memory, more time."
    )
    freeze_bn: bool = option(False, "Use the running statistics of BatchNorm in training too.")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """SGD with a polynomial learning rate."""

    learning_rate: float = option(
        0.001, "Learning rate lr0 of the backbone: lr0 * (1 - t / T) ** power.", above=0
    )
    head_multiplier: float = option(
        10.0, "Factor on the learning rate outside the backbone.", above=0
    )
    momentum: float = option(0.9, "Decay of the momentum.", at_least=0, below=1)
    weight_decay: float = option(
        1e-4, "Weight decay of all parameters, added before the momentum.", at_least=0
    )
    power: float = option(0.9, "Power of the learning rate's decay.", at_least=0)


@dataclasses.dataclass(frozen=True)
class Train:
    """Length, batch and behaviour of the training."""

    batch_size: int = option(
        8,
        "GLOBAL batch: the number of labelled and of unlabelled images a step, on any number of "
        "devices. Supervised training takes twice as many labelled images instead.",
        at_least=1,
    )
    num_epochs: int = option(
        80,
        "Length in epochs, passes over the unlabelled images (supervised: the labelled ones).",
        at_least=0,
    )
    num_steps: int = option(0, "Length in steps; if above 0, it replaces num_epochs.", at_least=0)
    accumulation: int = option(
        1,
        "Parts that a batch is split into, where memory is short. Equal to 1 only with "
        "model.freeze_bn and labeled_loss 'ce': otherwise statistics and OHEM are those of a part.",
        at_least=1,
    )
    deterministic: bool = option(
        False, "Bit-exact on GPUs too, at some cost in speed. CPU runs always are."
    )
    on_nonfinite: str = option(
        "stop",
        "A step whose loss or gradient is not finite: 'stop' ends the run and keeps the state "
        "before it beside the checkpoints; 'skip' continues without its update.",
        choices=("stop", "skip"),
        may_change=True,
    )
    max_nonfinite: int = option(
        5, "Steps in a row that 'skip' may skip before the run ends.", at_least=1, may_change=True
    )
    log_every: int = option(50, "Steps between two lines of the log.", at_least=1, may_change=True)
    compilation_cache: str = option(
        "auto",
        "Folder of compiled programs kept between runs; 'auto' = in the user's cache folder, "
        "empty = none.",
        may_change=True,
        per_process=True,
    )


@dataclasses.dataclass(frozen=True)
class Eval:
    """Validation; all of it may change when a run resumes."""

    mode: str = option(
        "whole",
        "'whole': every image at its own size. 'sliding': windows of `window` pixels.",
        choices=("whole", "sliding"),
        may_change=True,
    )
    every_steps: int = option(
        0,
        "Steps between two evaluations; 0 = once an epoch. The last step always has one.",
        at_least=0,
        may_change=True,
    )
    batch_size: int = option(
        8,
        "Images of one size that are evaluated together, on all devices of all processes.",
        at_least=1,
        may_change=True,
    )
    max_shapes: int = option(
        8,
        "'whole': the network compiles for each size of an image. Validation images of more sizes "
        "than this are padded to so many, with the same result up to rounding; 0 = never.",
        at_least=0,
        may_change=True,
    )
    window: int = option(801, "Side of a sliding window in pixels.", at_least=1, may_change=True)
    stride: int = option(
        534, "Distance between two windows in pixels.", at_least=1, may_change=True
    )
    windows: str = option(
        "shifted",
        "Windows at the right and lower border: 'shifted' back into the image, the better "
        "estimate; or 'cut' off there, as in UniMatch's evaluation of Cityscapes.",
        choices=("cut", "shifted"),
        may_change=True,
        before="shifted",
    )
    flip: bool = option(False, "Average with the mirror image.", may_change=True)
    scales: tuple = option(
        (1.0,), "Average over these factors on the size of the image.", may_change=True
    )
    pictures: int = option(
        4,
        "Validation images, and as many unlabelled ones, drawn into `pictures/` and TensorBoard at "
        "each evaluation; 0 = none.",
        at_least=0,
        may_change=True,
    )


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Saved states."""

    every_steps: int = option(
        0,
        "Steps between two checkpoints; 0 = only at evaluations, which always have one.",
        at_least=0,
        may_change=True,
    )
    keep: int = option(2, "Newest checkpoints kept, besides the best.", at_least=1, may_change=True)


GROUPS: Mapping[str, type] = {
    "data": Data,
    "model": Model,
    "optimizer": Optimizer,
    "train": Train,
    "eval": Eval,
    "checkpoint": Checkpoint,
}
# Players of the consensus where a method has none of its own to say.
PLAYERS = options(METHODS["rcc"])["top_n"].default
# `auto` is replaced by a method that suits the number of classes (rcc_jax/config/guess.py).
AUTO = "auto"
METHOD_NAME = Option("rcc", "The training method; 'auto' = rcc, but unimatch for two classes.")


def fields() -> dict[str, Option]:
    """The options outside the group `method`, by dotted name."""
    found = dict(options(Top))
    for group, declared in GROUPS.items():
        found |= {f"{group}.{name}": each for name, each in options(declared).items()}
    return found


def method_fields(name: str) -> Mapping[str, Option]:
    """The options of a method by name of the field; of all methods for 'auto'."""
    if name in METHODS:
        return options(METHODS[name])
    found: dict[str, Option] = {}
    for method in METHODS.values():
        found |= options(method)
    return found


def defaults() -> ml_collections.ConfigDict:
    """A configuration of the defaults; fields of the method are unset, which is its default."""
    made = ml_collections.ConfigDict({name: x.default for name, x in options(Top).items()})
    for group, declared in GROUPS.items():
        made[group] = {name: x.default for name, x in options(declared).items()}
    made.method = {"name": METHOD_NAME.default}
    for name, each in method_fields(AUTO).items():
        made.method[name] = ml_collections.config_dict.placeholder(type(each.default))
    return made


def matching(condition) -> tuple[str, ...]:
    """Dotted names of the fields whose option fulfils a condition."""
    return tuple(name for name, each in fields().items() if condition(each))
