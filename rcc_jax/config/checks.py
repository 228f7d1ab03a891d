"""Checks of configuration values that do not depend on the data; no JAX."""

import os
from collections.abc import Collection, Iterator

import ml_collections

from input_pipeline import near_names
from rcc_jax.config import method_group, named_weights, networks, schema
from rcc_jax.config.groups import GROUPS
from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS
from rcc_jax.options import effectless, options

# An image of four times the width has sixteen times the pixels.
_LARGEST_SCALE = 4.0


def check(config: ml_collections.ConfigDict, *, left: Collection[str] = ()) -> None:
    """Rejects invalid values; the message has the field, the value and what to do.

    Args:
        config: The configuration.
        left: Fields to be guessed from the data that have no value yet.

    Raises:
        ConfigError: With all faults, one per line.
    """
    found = list(faults(config, left=left))
    if found:
        raise ConfigError("\n".join(found))


def faults(config: ml_collections.ConfigDict, *, left: Collection[str] = ()) -> Iterator[str]:
    """Yields a message for every invalid value; arguments as for `check`."""
    for field, declared in schema.fields().items():
        if field not in left and (message := declared.fault(field, _get(config, field))):
            yield message
    yield from _windows(config.eval)
    yield from _multiples(config, left)
    yield from faults_of_scales(config.eval.scales)
    yield from _length(config.train)
    yield from _names(config.data, left)
    yield from _aspp_rates(config.model.aspp_rates)
    for member in networks.members(config):
        if member.family is not None:
            yield from named_weights.faults(member.model, member.field, member.backbone_field)
    yield from _same_backbone(config)
    yield from method_group.faults(config, left)


def check_start(config: ml_collections.ConfigDict) -> None:
    """Rejects what only the first start of a run must not have, such as missing weights.

    Runs of earlier versions may have the other faults, and only the first start reads the file of
    the weights.

    Weights on a hub are looked for later, once everything else is known to be in order.

    Raises:
        ConfigError: Naming the field or the file.
    """
    found = []
    if config.seed >= 2**32:
        found.append(
            f"config.seed = {config.seed} must be below {2**32}: larger ones repeat the first "
            "weights of a smaller one."
        )
    if config.method.name in METHODS:
        found += method_group.faults_of_start(config)
    if found:
        raise ConfigError("\n".join(found))
    for member in networks.members(config):
        path = member.model.pretrained
        if config.model.freeze_encoder and not path:
            raise ConfigError(
                f"config.model.freeze_encoder = True, but config.{member.field} = '': the encoder "
                "would keep random weights; name its weights, or set freeze_encoder=false."
            )
        if named_weights.is_path(member.model) and not os.path.exists(path):
            raise ConfigError(
                f"config.{member.field} = {path!r}: there is no such file or folder of a "
                f"run; give its path, one of {named_weights.names(member.model.backbone)}, or '' "
                f"for random weights.{near_names.hint(path)}"
            )


def check_given(config: ml_collections.ConfigDict, given: Collection[str]) -> None:
    """Rejects fields on the command line that the chosen method, network or optimizer lacks.

    Such a field in a configuration file is ignored instead: a file may set it for all of them.

    Args:
        config: The configuration.
        given: Dotted fields that were set on the command line.

    Raises:
        ConfigError: Naming the first field and what has it.
    """
    method_group.check_given(config, given)
    steps = config.train.num_steps
    if "train.num_epochs" in given and "train.num_steps" not in given and steps:
        raise ConfigError(
            f"--config.train.num_epochs={config.train.num_epochs} has no effect with "
            f"config.train.num_steps = {steps}; set --config.train.num_steps=0 too, or choose the "
            "number of steps."
        )
    _check_recipe(config, given)
    chosen = networks.kinds(config)
    for field in given:
        declared = schema.fields().get(field)
        if declared is not None and declared.only and declared.only not in chosen:
            group = field.partition(".")[0]
            name = "backbone" if group == "model" else "name"
            raise ConfigError(
                f"--config.{field}={_get(config, field)}: config.{group}.{name} = "
                f"{config[group][name]!r} has no such field; it belongs to {declared.only}. Leave "
                "it out, or choose another."
            )


def _check_recipe(config: ml_collections.ConfigDict, given: Collection[str]) -> None:
    """Rejects a transformer with the optimizer that the configuration has for a ResNet."""
    backbone = config.model.backbone
    is_chosen = "model.backbone" in given and "optimizer.name" not in given
    if is_chosen and config.optimizer.name == "sgd" and schema.size_multiple(config) > 1:
        raise ConfigError(
            f"--config.model.backbone={backbone} keeps a ResNet's optimizer, crop and weights. "
            f"Write --config=FILE:backbone={backbone} instead, which sets those of a "
            "transformer, or give --config.optimizer.name too."
        )


def idle(config: ml_collections.ConfigDict, given: Collection[str]) -> Iterator[str]:
    """Yields a line for each field on the command line that has no effect with the others.

    They are no errors, since a sweep may set them for all of its runs. Fields of the method are:
    see `check_given`.
    """
    for group, declared in GROUPS.items():
        own = options(declared)
        for name, needed in effectless(own, config[group]).items():
            # With the default value nothing is lost.
            if f"{group}.{name}" in given and config[group][name] != own[name].default:
                yield method_group.without_effect(f"{group}.{name}", config, config[group], needed)
    is_same = "data.cutmix_partner" in given and config.data.cutmix_partner == "same"
    if is_same and not method_group.has_partner(config):
        yield (
            "--config.data.cutmix_partner=same has no effect: "
            f"{config.method.name} pastes no boxes of other images"
        )


def _get(config, field: str):
    for name in field.split("."):
        config = config[name]
    return config


def _windows(fields) -> Iterator[str]:
    if fields.mode == "sliding" and fields.stride > fields.window:
        yield (
            f"config.eval.stride = {fields.stride} must be at most config.eval.window = "
            f"{fields.window}, or pixels between the windows are missed."
        )


def _multiples(config: ml_collections.ConfigDict, left: Collection[str]) -> Iterator[str]:
    """Faults of sizes that the networks cannot take."""
    fields = config.eval
    if "data.crop_size" not in left:
        multiple = networks.crop_multiple(config)
        yield from fault_of_multiple(
            "data.crop_size", config.data.crop_size, multiple, _taking(config, multiple)
        )
    if fields.mode == "sliding":
        yield from faults_of_windows(fields.window, fields.windows, schema.size_multiple(config))


def _taking(config: ml_collections.ConfigDict, multiple: int) -> str:
    """The words for the networks that together need multiples of a number."""
    main, *others = networks.members(config)
    if main.multiple == multiple:
        return "this network takes"
    named = " and ".join(f"config.{x.backbone_field} = {x.model.backbone!r}" for x in others)
    return f"with {named}, training takes"


def _same_backbone(config: ml_collections.ConfigDict) -> Iterator[str]:
    """A fault if the second network has the main one's backbone and needs another."""
    main, *others = networks.members(config)
    for other in others:
        if other.model.backbone == main.model.backbone:
            yield (
                f"config.{other.backbone_field} = {other.model.backbone!r} is also config."
                f"{main.backbone_field}, but {config.method.name} trains two different backbones; "
                "choose another one, or a method with two equal ones such as "
                "config.method.name=cps."
            )


def faults_of_windows(window: int, windows: str, multiple: int) -> Iterator[str]:
    """Yields a message if the network, which takes multiples of a number, cannot see windows."""
    if multiple > 1 and windows == "cut":
        yield (
            "config.eval.windows = 'cut' makes windows of any size, but this network takes "
            f"multiples of {multiple} pixels; use config.eval.windows=shifted."
        )
    yield from fault_of_multiple("eval.window", window, multiple)


def fault_of_multiple(
    field: str, size: int, multiple: int, taking: str = "this network takes"
) -> Iterator[str]:
    """Yields a message if a size is no multiple of a number, with the nearest ones."""
    if size % multiple:
        below = size // multiple * multiple
        nearest = " or ".join(str(n) for n in (below, below + multiple) if n)
        yield (f"config.{field} = {size}: {taking} multiples of {multiple} pixels; use {nearest}.")


def _names(fields, left: Collection[str]) -> Iterator[str]:
    names = tuple(fields.class_names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield (
            f"config.data.class_names = {names!r} has {twice[0]!r} twice; give every class its own "
            "name."
        )
    if names and "data.num_classes" not in left and len(names) != fields.num_classes:
        yield (
            f"config.data.class_names has {len(names)} names, config.data.num_classes = "
            f"{fields.num_classes}; name every class in the order of the ids, or none."
        )


def _aspp_rates(rates) -> Iterator[str]:
    if len(rates) != 3 or not all(isinstance(rate, int) and rate >= 1 for rate in rates):
        yield (
            f"config.model.aspp_rates = {tuple(rates)!r} must be three whole numbers of at least "
            "1, such as 6,12,18."
        )


def _length(fields) -> Iterator[str]:
    if fields.num_steps == 0 and fields.num_epochs == 0:
        yield (
            "config.train.num_steps = 0 and config.train.num_epochs = 0 leave nothing to train; "
            "set one of them."
        )


def faults_of_scales(scales: Collection) -> Iterator[str]:
    """Yields a message if an evaluation cannot average over these scales."""
    if not scales or not all(
        isinstance(scale, float | int) and 0 < scale <= _LARGEST_SCALE for scale in scales
    ):
        typed = ",".join(map(str, scales)) or "()"
        yield (
            f"config.eval.scales = {typed} must be comma-separated factors above 0 and at most "
            f"{_LARGEST_SCALE}, such as 0.75,1.0,1.25."
        )
