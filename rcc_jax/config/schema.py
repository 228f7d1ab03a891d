"""The fields of a configuration with their defaults, bounds and meanings; no JAX.

`configs/common.py` builds configurations from them. The fields of the group `method` are declared
by the training methods (rcc_jax/methods).
"""

import dataclasses
from collections.abc import Mapping

import ml_collections

from rcc_jax.methods import METHODS
from rcc_jax.models import families
from rcc_jax.options import Option, option, options


@dataclasses.dataclass(frozen=True)
class Top:
    """Fields outside the groups."""

    seed: int = option(
        0, "The seed of the initial weights, of all random views and of all shuffles.",
        at_least=0, short="seed",
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Data:
    """The images, the masks and how they are read."""

    name: str = option(
        "",
        "Name of the data set in tables. 'pascal...', 'cityscapes' and 'camvid' are drawn in their "
        "usual colours.",
    )
    partition: str = option("", "Name of the partition in tables.")
    source: str = option(
        "folder",
        "'folder': list files, folders or globs below `root`. 'tfds': a TFDS dataset in "
        "ArrayRecord format. 'scenes': scenes drawn on the fly.",
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
        "Unlabelled images: comma-separated lists, folders or globs; images of the other parts are "
        "left out of folders and globs.",
    )
    val: str = option(
        "",
        "Validation images, as `labeled`; or a share of the labelled images, such as 0.2. 'tfds': "
        "empty means the split 'validation' or 'val'.",
    )
    train: str = option(
        "",
        "All training images: a list, a folder or a glob. If `unlabeled` is empty, the unlabelled "
        "images are those of them that are neither labelled nor for validation. 'tfds': empty "
        "means the split 'train'.",
    )
    pseudo: str = option(
        "",
        "Folder of pseudo masks of the unlabelled images, as --mode=label makes it; only for "
        "methods that train in stages, whose list for --mode=sweep sets it.",
        may_change=True,
        per_process=True,
        before="",
    )
    image_feature: str = option("image", "'tfds': name of the feature that holds the image.")
    label_feature: str = option("label", "'tfds': name of the feature that holds the mask.")
    num_classes: int = option(
        21,
        "Number of classes K; labels are 0..K-1 and 255 (ignored). 'folder': 0 = guessed from the "
        "masks, with `label_map` or `colormap` if they need one.",
        at_least=2,
        at_most=255,
    )
    class_names: tuple = option(
        (), "Names in the order of the ids, or empty: --config.data.class_names=water,sand,coral."
    )
    crop_size: int = option(
        513,
        "Side of the square training crop in pixels. 'folder': 0 = guessed from the mask sizes.",
        at_least=1,
    )
    cutmix_partner: str = option(
        "other",
        "Where CutMix takes its box from: 'other', another unlabelled image, as in the paper; or "
        "'same', another crop of the same image, as in UniMatch's code.",
        choices=("other", "same"),
        before="other",
    )
    label_map: str = option(
        "",
        "Maps raw ids of 'L' and palette masks: 'RAW:ID,RAW:ID,*:ID'; '*' is every other id.",
    )
    colormap: str = option("", "Maps the colours of RGB masks: '#rrggbb:ID,#rrggbb:ID,*:255'.")
    num_threads: int = option(
        4,
        "Threads that decode and augment. Their number does not change the batches.",
        at_least=1,
        may_change=True,
        per_process=True,
    )
    num_workers: int = option(
        0,
        "Worker processes for the same; 0 = none. Their number does not change the batches.",
        at_least=0,
        may_change=True,
        per_process=True,
    )
    on_error: str = option(
        "stop",
        "What happens if a training image or mask cannot be used: 'stop' names it and ends the "
        "run; 'skip' uses the next one in the list and records the file in bad_files.jsonl. A bad "
        "validation image, or a file that is missing at the start, always ends the run.",
        choices=("stop", "skip"),
        may_change=True,
    )
    max_bad: int = option(
        100, "Largest number of files that 'skip' may leave out.", at_least=0, may_change=True
    )


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
        64, "Channels of the first stage; 64 is a standard ResNet.", at_least=1, only="resnet"
    )
    decoder_channels: int = option(256, "Channels of the decoder.", at_least=1, only="resnet")
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
        False, "Recompute the encoder's blocks in the backward pass: less memory, more time."
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
        "Number of parts that a batch is split into to save memory. The result is the same as with "
        "1 only for model.freeze_bn and labeled_loss 'ce': otherwise BatchNorm and OHEM see one "
        "part at a time.",
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
        5, "Number of consecutive steps that 'skip' may skip.", at_least=1, may_change=True
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
    )
    window: int = option(801, "Side of a sliding window in pixels.", at_least=1, may_change=True)
    stride: int = option(
        534, "Distance between two windows in pixels.", at_least=1, may_change=True
    )
    windows: str = option(
        "shifted",
        "Windows at the right and lower border are 'shifted' back into the image, which predicts "
        "better, or 'cut' off, as in UniMatch's evaluation of Cityscapes.",
        choices=("cut", "shifted"),
        may_change=True,
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
# Number of players for methods without a consensus term.
PLAYERS = options(METHODS["rcc"])["top_n"].default
# `auto` is replaced by a method that suits the number of classes (rcc_jax/config/guess.py).
AUTO = "auto"
METHOD_NAME = Option("rcc", "The training method; 'auto' = rcc, or unimatch for two classes.")


def fields() -> dict[str, Option]:
    """The options outside the group `method`, by dotted name."""
    found = dict(options(Top))
    for group, declared in GROUPS.items():
        found |= {f"{group}.{name}": each for name, each in options(declared).items()}
    return found


def size_multiple(config: ml_collections.ConfigDict) -> int:
    """The number whose multiples are the heights and widths that the network predicts.

    Crops are multiples for all networks that are trained: `networks.crop_multiple`.
    """
    family = families.BACKBONES.get(config.model.backbone)
    return 1 if family is None else family.multiple


def max_shapes(config: ml_collections.ConfigDict) -> int:
    """The largest number of shapes that images are padded to; 0 if none are padded."""
    family = families.BACKBONES.get(config.model.backbone)
    can_pad = family is not None and (family.pads or family.multiple > 1)
    return config.eval.max_shapes if can_pad and config.eval.mode == "whole" else 0


def method_fields(name: str) -> Mapping[str, Option]:
    """The options of a method by field name; those of all methods for 'auto'."""
    if name in METHODS:
        return options(METHODS[name])
    found: dict[str, Option] = {}
    for method in METHODS.values():
        found |= options(method)
    return found


def defaults() -> ml_collections.ConfigDict:
    """A configuration of the defaults; unset fields of a method stand for its defaults."""
    made = ml_collections.ConfigDict({name: x.default for name, x in options(Top).items()})
    for group, declared in GROUPS.items():
        made[group] = {name: x.default for name, x in options(declared).items()}
    made.method = {"name": METHOD_NAME.default}
    for name, each in method_fields(AUTO).items():
        made.method[name] = ml_collections.config_dict.placeholder(type(each.default))
    return made


def matching(condition) -> tuple[str, ...]:
    """Dotted names of the fields whose option satisfies a condition."""
    return tuple(name for name, each in fields().items() if condition(each))
