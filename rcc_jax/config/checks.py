"""Values of a configuration that cannot work whatever the data are; known without JAX and data."""

import math
import os
from collections.abc import Collection, Iterator

import ml_collections

from input_pipeline import near_names
from rcc_jax.config import presets
from rcc_jax.errors import ConfigError

# What a field may be. Those of models/ and methods.py stand there too, which need JAX.
CHOICES = {
    "data.source": ("folder", "tfds", "scenes"),
    "data.on_error": ("stop", "skip"),
    "data.cutmix_partner": ("other", "same"),
    "train.on_nonfinite": ("stop", "skip"),
    "model.backbone": ("resnet18", "resnet34", "resnet50", "resnet101"),
    "model.stem": ("deep", "v1"),
    "model.output_stride": (8, 16),
    "model.dtype": ("float32", "bfloat16", "float64"),
    "method.name": presets.PRESETS,  # As it is then: others may add to it.
    "method.consensus_input": ("logits", "probabilities"),
    "method.consensus_pixels": ("valid", "confident"),
    "method.labeled_loss": ("ce", "ohem"),
    "eval.mode": ("whole", "sliding"),
    "eval.windows": ("cut", "shifted"),
}
# An image of four times the width has sixteen times the pixels.
_LARGEST_SCALE = 4.0
# Lowest allowed value, and whether it is itself allowed, by field.
_LOWER_BOUNDS = {
    "seed": (0, True),
    "data.num_classes": (2, True),
    "data.crop_size": (1, True),
    "data.num_threads": (1, True),
    "data.num_workers": (0, True),
    "data.max_bad": (0, True),
    "model.width": (1, True),
    "model.decoder_channels": (1, True),
    "method.consensus_weight": (0, True),
    "method.temperature": (0, False),
    "method.ohem_min_kept": (0, True),
    "optimizer.learning_rate": (0, False),
    "optimizer.head_multiplier": (0, False),
    "optimizer.power": (0, True),
    "optimizer.weight_decay": (0, True),
    "train.batch_size": (1, True),
    "train.num_epochs": (0, True),
    "train.num_steps": (0, True),
    "train.accumulation": (1, True),
    "train.log_every": (1, True),
    "train.max_nonfinite": (1, True),
    "eval.every_steps": (0, True),
    "eval.batch_size": (1, True),
    "eval.max_shapes": (0, True),
    "eval.window": (1, True),
    "eval.stride": (1, True),
    "eval.pictures": (0, True),
    "checkpoint.every_steps": (0, True),
    "checkpoint.keep": (1, True),
}


def check(config: ml_collections.ConfigDict, *, left: Collection[str] = ()) -> None:
    """Refuses values that cannot work, each with the field, the value and what to do.

    Args:
        config: The configuration.
        left: Fields that are left to the data and have no value yet.

    Raises:
        ConfigError: With every fault, one a line.
    """
    found = list(faults(config, left=left))
    if found:
        raise ConfigError("\n".join(found))


def faults(config: ml_collections.ConfigDict, *, left: Collection[str] = ()) -> Iterator[str]:
    """Every fault of the values, as messages; arguments as for `check`."""
    for field, choices in CHOICES.items():
        value = _get(config, field)
        if field not in left and value not in choices:
            allowed = ", ".join(map(str, choices))
            yield f"config.{field} = {value!r} is not known; use one of {allowed}."
    yield from _faults_of_numbers(config, left)
    yield from _faults_of_names(config, left)
    yield from _faults_of_lists(config)
    yield from presets.faults(config, left=left)


def check_start(config: ml_collections.ConfigDict) -> None:
    """Refuses a file of weights that is not there; of a run that is to start, not to go on.

    Raises:
        ConfigError: Naming the file.
    """
    path = config.model.pretrained
    if path and not os.path.exists(path):
        raise ConfigError(
            f"config.model.pretrained = {path!r}: there is no such file, nor the folder of a run; "
            f"give its path, or '' for random weights.{near_names.hint(path)}"
        )


def _get(config, field: str):
    for name in field.split("."):
        config = config[name]
    return config


def _faults_of_numbers(config, left: Collection[str]) -> Iterator[str]:
    for field, (bound, included) in _LOWER_BOUNDS.items():
        if field in left:
            continue
        value = _get(config, field)
        if not math.isfinite(value) or value < bound or (value == bound and not included):
            relation = "at least" if included else "above"
            yield f"config.{field} = {value!r} must be {relation} {bound}."
    for field in ("method.confidence_threshold", "method.ohem_threshold"):
        if not 0 <= _get(config, field) <= 1:
            yield f"config.{field} = {_get(config, field)!r} must be from 0 to 1."
    for field in ("method.ema_decay", "optimizer.momentum"):
        if not 0 <= _get(config, field) < 1:
            yield f"config.{field} = {_get(config, field)!r} must be from 0 to below 1."
    if config.data.num_classes > 255:
        yield (
            f"config.data.num_classes = {config.data.num_classes} must be at most 255: "
            "masks hold 8 bits and 255 means ignored."
        )
    if config.eval.mode == "sliding" and config.eval.stride > config.eval.window:
        yield (
            f"config.eval.stride = {config.eval.stride} must be at most "
            f"config.eval.window = {config.eval.window}, "
            "or pixels between the windows are missed."
        )
    if config.train.num_steps == 0 and config.train.num_epochs == 0:
        yield (
            "config.train.num_steps = 0 and config.train.num_epochs = 0 leave nothing to train; "
            "set one of them."
        )


def _faults_of_names(config, left: Collection[str]) -> Iterator[str]:
    names, num_classes = config.data.class_names, config.data.num_classes
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        yield (
            f"config.data.class_names = {tuple(names)!r} has {twice[0]!r} twice; give every class "
            "a name of its own."
        )
    if names and len(names) != num_classes and "data.num_classes" not in left:
        yield (
            f"config.data.class_names has {len(names)} names, config.data.num_classes = "
            f"{num_classes}; give a name for every class in the order of the ids, or none."
        )


def _faults_of_lists(config) -> Iterator[str]:
    rates = config.model.aspp_rates
    if len(rates) != 3 or not all(isinstance(rate, int) and rate >= 1 for rate in rates):
        yield (
            f"config.model.aspp_rates = {tuple(rates)!r} must be three whole numbers of at least "
            "1, such as 6,12,18."
        )
    yield from faults_of_scales(config.eval.scales)


def faults_of_scales(scales: Collection) -> Iterator[str]:
    """Why an evaluation cannot average over these factors on the size of an image."""
    if not scales or not all(
        isinstance(scale, float | int) and 0 < scale <= _LARGEST_SCALE for scale in scales
    ):
        typed = ",".join(map(str, scales)) or "()"
        yield (
            f"config.eval.scales = {typed} must be factors above 0 and at most "
            f"{_LARGEST_SCALE} with commas between, such as 0.75,1.0,1.25."
        )
