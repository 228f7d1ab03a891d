"""From a configuration to plain objects: checked values, the method, the network, the data."""

import math
import os
from collections.abc import Callable

import jax.numpy as jnp
import ml_collections
from flax import nnx

import input_pipeline
from rcc_jax import methods, presets, run_lists
from rcc_jax.errors import ConfigError
from rcc_jax.models import BACKBONES, DeepLabV3Plus, pretrained

_SOURCES = ("folder", "tfds", "scenes")
_STEMS = ("deep", "v1")
_DTYPES = ("float32", "bfloat16", "float64")
_EVALUATION_MODES = ("whole", "sliding")
_ON_ERROR = ("stop", "skip")  # Of the data, and of steps that are not finite.


def _choice(config, field: str, choices) -> None:
    value = _get(config, field)
    if value not in choices:
        allowed = ", ".join(str(c) for c in choices)
        raise ConfigError(f"config.{field} = {value!r} is not known; use one of {allowed}.")


def _get(config, field: str):
    for name in field.split("."):
        config = config[name]
    return config


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
    "method.ohem_threshold": (0, True),
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


def _check_numbers(config) -> None:
    for field, (bound, included) in _LOWER_BOUNDS.items():
        value = _get(config, field)
        if not math.isfinite(value) or value < bound or (value == bound and not included):
            relation = "at least" if included else "above"
            raise ConfigError(f"config.{field} = {value!r} must be {relation} {bound}.")
    for field in ("method.confidence_threshold", "method.ohem_threshold"):
        if not 0 <= _get(config, field) <= 1:
            raise ConfigError(f"config.{field} = {_get(config, field)!r} must be from 0 to 1.")
    for field in ("method.ema_decay", "optimizer.momentum"):
        if not 0 <= _get(config, field) < 1:
            raise ConfigError(
                f"config.{field} = {_get(config, field)!r} must be from 0 to below 1."
            )
    if config.data.num_classes > 255:
        raise ConfigError(
            f"config.data.num_classes = {config.data.num_classes} must be at most 255: "
            "masks hold 8 bits and 255 means ignored."
        )
    if config.eval.mode == "sliding" and config.eval.stride > config.eval.window:
        raise ConfigError(
            f"config.eval.stride = {config.eval.stride} must be at most "
            f"config.eval.window = {config.eval.window}, "
            "or pixels between the windows are missed."
        )


def _check_aspp_rates(rates) -> None:
    if len(rates) != 3 or not all(isinstance(rate, int) and rate >= 1 for rate in rates):
        raise ConfigError(
            f"config.model.aspp_rates = {tuple(rates)!r} must be three whole numbers of at least "
            "1, such as 6,12,18."
        )


def check(config: ml_collections.ConfigDict) -> None:
    """Refuses values that cannot work, each with the field, the value and what to do.

    Raises:
      ConfigError: naming the first such field.
    """
    _choice(config, "data.source", _SOURCES)
    _choice(config, "data.on_error", _ON_ERROR)
    _choice(config, "train.on_nonfinite", _ON_ERROR)
    _choice(config, "model.backbone", BACKBONES)
    _choice(config, "model.stem", _STEMS)
    _choice(config, "model.output_stride", (8, 16))
    _choice(config, "model.dtype", _DTYPES)
    _choice(config, "method.consensus_input", methods.CONSENSUS_INPUTS)
    _choice(config, "method.consensus_pixels", methods.CONSENSUS_PIXELS)
    _choice(config, "method.labeled_loss", methods.LABELED_LOSSES)
    _choice(config, "eval.mode", _EVALUATION_MODES)
    _check_numbers(config)
    _check_aspp_rates(config.model.aspp_rates)
    presets.check(config)


def build_method(config: ml_collections.ConfigDict) -> methods.Method:
    """The method that `config.method` describes.

    Raises:
      ConfigError: where the players do not fit the classes.
    """
    fields = config.method
    presets.check_classes(config)
    return methods.Method(
        strong_views=presets.PRESETS[fields.name]["strong_views"],
        feature_perturbation=presets.PRESETS[fields.name]["feature_perturbation"],
        consensus=presets.consensus_kind(config),
        consensus_weight=fields.consensus_weight,
        top_n=fields.top_n,
        temperature=fields.temperature,
        consensus_input=fields.consensus_input,
        consensus_pixels=fields.consensus_pixels,
        confidence_threshold=fields.confidence_threshold,
        labeled_loss=fields.labeled_loss,
        ohem_threshold=fields.ohem_threshold,
        ohem_min_kept=fields.ohem_min_kept,
        ema_decay=fields.ema_decay,
    )


def build_model(config: ml_collections.ConfigDict, rngs: nnx.Rngs) -> DeepLabV3Plus:
    """The network that `config.model` describes, with random weights."""
    fields = config.model
    return DeepLabV3Plus(
        config.data.num_classes,
        fields.backbone,
        fields.stem,
        output_stride=fields.output_stride,
        width=fields.width,
        decoder_channels=fields.decoder_channels,
        aspp_rates=tuple(fields.aspp_rates),
        dtype=jnp.dtype(fields.dtype),
        remat=fields.remat,
        freeze_bn=fields.freeze_bn,
        rngs=rngs,
    )


def load_pretrained(
    config: ml_collections.ConfigDict, model: DeepLabV3Plus, report: Callable[[str], None]
) -> None:
    """Puts the weights of `config.model.pretrained` into the network, if there are any.

    Raises:
      ConfigError: for a file that is missing, damaged or of another network.
    """
    path = config.model.pretrained
    if not path:
        return
    missing, unused = (
        tuple(filter(None, names.replace(" ", "").split(",")))
        for names in (config.model.allow_missing, config.model.allow_unused)
    )
    try:
        summary = pretrained.load_torch(model, path, allow_missing=missing, allow_unused=unused)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"config.model.pretrained = {path!r}: {error}") from error
    report(f"pretrained weights: {summary}")


def check_pretrained(config: ml_collections.ConfigDict) -> None:
    """Finds out, at little cost, whether `load_pretrained` will work; raises what it raises."""
    abstract = nnx.eval_shape(lambda: build_model(config, nnx.Rngs(0)))
    load_pretrained(config, abstract, report=lambda _: None)


def open_partition(
    config: ml_collections.ConfigDict,
    workdir: str | os.PathLike | None = None,
    *,
    images: str = "",
) -> input_pipeline.Partition:
    """The images and masks that `config.data` describes, checked as far as a start allows.

    Args:
      config: the configuration.
      workdir: folder of the run, whose own lists come before the settings; None = no run.
      images: what takes the place of the validation images; '' = nothing.
    """
    fields = config.data
    parts = {name: fields[name] for name in ("labeled", "unlabeled", "val", "train")}
    if workdir is not None:
        parts |= run_lists.recorded(workdir)
    parts["val"] = images or parts["val"]
    if not build_method(config).strong_views:
        parts["unlabeled"] = None
    partition = input_pipeline.open_partition(
        source=fields.source,
        root=fields.root,
        **parts,
        num_classes=fields.num_classes,
        class_names=tuple(fields.class_names),
        label_map=fields.label_map,
        colormap=fields.colormap,
        image_feature=fields.image_feature,
        label_feature=fields.label_feature,
    )
    input_pipeline.check_partition(partition, max_bad=max_bad(config))
    return partition


def max_skipped(config: ml_collections.ConfigDict) -> int:
    """How many steps in a row may be not finite."""
    return config.train.max_nonfinite if config.train.on_nonfinite == "skip" else 0


def max_bad(config: ml_collections.ConfigDict) -> int | None:
    """How many files for training may be unusable; None where the first one stops the run."""
    return config.data.max_bad if config.data.on_error == "skip" else None


def num_steps(config: ml_collections.ConfigDict, partition) -> tuple[int, int]:
    """Number of training steps, and of steps in an epoch."""
    method, batch_size = build_method(config), config.train.batch_size
    epoch = input_pipeline.num_steps_per_epoch(
        partition,
        labeled_batch_size=batch_size * method.labeled_per_unlabeled,
        unlabeled_batch_size=batch_size if method.strong_views else 0,
    )
    total = config.train.num_steps or config.train.num_epochs * epoch
    if total < 1:
        raise ConfigError(
            "config.train.num_steps = 0 and config.train.num_epochs = 0 leave nothing to train; "
            f"set one of them (an epoch has {epoch} steps)."
        )
    return total, epoch
