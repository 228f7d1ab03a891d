"""The group `method` of a configuration: the fields of the chosen method and their values."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import ml_collections

from rcc_jax.config import schema
from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS, Method
from rcc_jax.methods.base import Views
from rcc_jax.methods.with_soft_labels import WithSoftLabels
from rcc_jax.options import effectless, without_effectless

# Values of a data set's recipe, with which its methods are compared.
_RECIPES = {
    "cityscapes": {
        "confidence_threshold": 0.0,
        "labeled_loss": "ohem",
        "snapshot_threshold": 0.0,
        "snapshot_weighting": "confidence",
        "warm_up_epochs": 0,
    },
    # At PASCAL's 0.95 the pixels kept are mostly sky and road.
    "camvid_drives": {"confidence_threshold": 0.7},
}
# Supervised training takes twice as many labelled images per step, while UniMatch's number of
# pixels per GPU stays the same.
_SUPERVISED = {"cityscapes": {"ohem_min_kept": 50_000}}


def recipe(
    data: str, name: str, backbone: str, given: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """The method's fields that the recipe of a data set changes, with their values.

    Args:
        data: Name of the data set.
        name: Name of the method.
        backbone: Name of the backbone.
        given: Values of the method's fields, on which others may depend; None for the defaults.
    """
    alone = _SUPERVISED.get(data, {}) if name == "supervised" else {}
    own = METHODS[name].recipe(data, given or {}) if name in METHODS else {}
    shared = dict(_RECIPES.get(data, {}))
    if data == "cityscapes" and backbone.startswith("dinov2"):
        # UniMatch's 0 is for ResNets; V2 has one threshold for all data sets. PrevMatch weights
        # images only where every pixel counts.
        for field in ("confidence_threshold", "snapshot_threshold", "snapshot_weighting"):
            del shared[field]
    found = {**shared, **alone, **own}
    if name in METHODS and not METHODS[name].recipe_threshold:
        found.pop("confidence_threshold", None)
    return found


def views(config: ml_collections.ConfigDict) -> Views | None:
    """The views of unlabelled images; UniMatch's if the method is unknown."""
    return build(config).views if config.method.name in METHODS else Views()


def has_partner(config: ml_collections.ConfigDict) -> bool:
    """Whether strong views get boxes of another unlabelled image from the input pipeline."""
    found = views(config)
    return found is not None and found.box != "none"


def uses_unlabeled(name: str) -> bool:
    """Whether a method trains on unlabelled images; True for an unknown method."""
    method = METHODS.get(name)
    return method is None or method.views is not None or bool(method.stages)


def method_class(config: ml_collections.ConfigDict) -> type[Method]:
    """The class of `config.method.name`.

    Raises:
        ConfigError: If the name is unknown.
    """
    name = config.method.name
    if name not in METHODS:
        raise ConfigError(
            f"config.method.name = {name!r} is not known; use one of {', '.join(METHODS)}."
        )
    return METHODS[name]


def build(config: ml_collections.ConfigDict) -> Method:
    """Builds the method of a configuration without checking its fields.

    Raises:
        ConfigError: If the name is unknown.
    """
    return method_class(config)(**values(config))


def values(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The fields of the chosen method with their values.

    Fields that are unset, or have no effect with the others, have their defaults.
    """
    return without_effectless(schema.method_fields(config.method.name), _given(config))


def _given(config: ml_collections.ConfigDict) -> dict[str, Any]:
    given = config.method
    return {
        name: each.default if given.get(name) is None else given[name]
        for name, each in schema.method_fields(given.name).items()
    }


def used(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Those `values` that have an effect."""
    found = values(config)
    idle = effectless(schema.method_fields(config.method.name), found)
    return {name: value for name, value in found.items() if name not in idle}


def resolved(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The configuration as nested plain values, with only the chosen method's fields."""
    found = config.to_dict()
    found["method"] = {"name": config.method.name, **values(config)}
    return found


def faults(config: ml_collections.ConfigDict, left: Collection[str] = ()) -> Iterator[str]:
    """Yields a message for each reason why the method cannot work with this configuration.

    Args:
        config: The configuration.
        left: Dotted fields to be guessed from the data that have no value yet.
    """
    if config.method.name == schema.AUTO and "method.name" in left:
        return
    try:
        chosen = method_class(config)
    except ConfigError as error:
        yield str(error)
        yield from _faults_of_any(config)
        return
    for name, each in schema.method_fields(chosen.name).items():
        if f"method.{name}" not in left:
            message = each.fault(f"method.{name}", _given(config)[name])
            if message is not None:
                yield message
    if "method.top_n" not in left:
        yield from build(config).faults(_known_classes(config, left))
    # The unlabelled images of a TFDS dataset are the other images of its training split.
    unlabeled = config.data.unlabeled or config.data.train or config.data.source == "tfds"
    if uses_unlabeled(chosen.name) and not unlabeled and "data.unlabeled" not in left:
        yield (
            f"config.method.name = {chosen.name!r} needs unlabelled images; set "
            "config.data.unlabeled to a list, a folder or a glob (or config.data.train to a list "
            "of all training images), or train with config.method.name=supervised."
        )
    if chosen.stages and not config.data.pseudo:
        yield (
            f"config.method.name = {chosen.name!r} trains in stages, here without the pseudo masks "
            f"of the first ones (data.pseudo); --mode=sweep --config={chosen.stages}:CELL,method="
            f"{chosen.name} runs all of them, where CELL is such as demo,steps=240."
        )
    elif config.data.pseudo and not chosen.stages:
        having = ", ".join(name for name, method in METHODS.items() if method.stages)
        yield (
            f"config.data.pseudo = {config.data.pseudo!r}: {chosen.name} trains on no pseudo "
            f"masks; leave it out, or choose {having}."
        )
    if config.train.accumulation > 1 and not chosen.accumulates:
        yield (
            f"config.train.accumulation = {config.train.accumulation}: {chosen.name} needs whole "
            "batches; use 1."
        )


def faults_of_start(config: ml_collections.ConfigDict) -> Iterator[str]:
    """Faults with which a run must not start; runs of earlier versions may have them."""
    method, train = build(config), config.train
    images = train.batch_size // train.accumulation
    if method.views and 0 < images < method.least_images:
        parts = f" / {train.accumulation} parts" if train.accumulation > 1 else ""
        yield (
            f"config.train.batch_size = {train.batch_size}{parts}: {method.name} mixes "
            f"unlabelled images and needs at least {method.least_images} at a time."
        )
    if isinstance(method, WithSoftLabels) and method.repeats_valid_pixels:
        yield (
            "config.method.consensus_pixels = 'confident': with pseudo_labels = 'soft' every pixel "
            "counts, so this is the same as 'valid'; use that."
        )


def _faults_of_any(config: ml_collections.ConfigDict) -> Iterator[str]:
    """Faults of the fields that are set, where it is not known which method is meant."""
    for name, value in config.method.items():
        if name != "name" and value is not None:
            owners = [
                options for each in METHODS if name in (options := schema.method_fields(each))
            ]
            found = [each[name].fault(f"method.{name}", value) for each in owners]
            if found and None not in found:
                yield str(found[0])


def _known_classes(config: ml_collections.ConfigDict, left: Collection[str]) -> int | None:
    """The number of classes; None if it is not guessed yet or is invalid."""
    number = config.data.num_classes
    is_known = schema.fields()["data.num_classes"].fault("data.num_classes", number) is None
    return number if is_known and "data.num_classes" not in left else None


def check_given(config: ml_collections.ConfigDict, given: Collection[str]) -> None:
    """Rejects fields on the command line that the chosen method lacks or does not use.

    Such a field in a configuration file is ignored instead: a file may set it for all methods.

    Args:
        config: The configuration.
        given: Dotted fields that were set on the command line.

    Raises:
        ConfigError: Naming the first field and the methods that have it.
    """
    chosen = config.method.name
    own = schema.method_fields(chosen)
    if "method.name" in given and chosen in METHODS:
        _check_recipe(config, given)
    idle = effectless(own, values(config)) if chosen in METHODS else {}
    for field in given:
        group, _, name = field.partition(".")
        if group != "method":
            continue
        # With the default value nothing is lost.
        if name in idle and config.method[name] != own[name].default:
            raise ConfigError(f"{without_effect(field, config, values(config), idle[name])}.")
        if name in ("name", *own):
            continue
        having = [each for each in METHODS if name in schema.method_fields(each)]
        raise ConfigError(
            f"--config.{field}={config.method[name]}: method {chosen!r} has no such field; it "
            f"belongs to {', '.join(having)}. "
            "Leave it out, or choose such a method."
        )


def without_effect(
    field: str,
    config: ml_collections.ConfigDict,
    values: Mapping[str, Any],
    needed: tuple[str, ...],
) -> str:
    """Says that a field has no effect, and why.

    Args:
        field: The field, dotted.
        config: The configuration.
        values: The values of the fields of its group.
        needed: Its `only_with`.
    """
    group, _, name = field.partition(".")
    other, *wanted = needed
    return (
        f"--config.{field}={config[group][name]} has no effect with config.{group}.{other} = "
        f"{values[other]!r}; leave it out, or set --config.{group}.{other} to {' or '.join(wanted)}"
    )


def set_fields(config: ml_collections.ConfigDict, fields: Mapping[str, Any]) -> None:
    """Sets the fields that the chosen method has; for files that serve several methods."""
    own = schema.method_fields(config.method.name)
    config.method.update({name: value for name, value in fields.items() if name in own})


def _check_recipe(config: ml_collections.ConfigDict, given: Collection[str]) -> None:
    """Rejects a method that was named without the values that its data set's recipe has for it."""
    name, now = config.method.name, values(config)
    for field, value in recipe(config.data.name, name, config.model.backbone, now).items():
        if field in now and now[field] != value and f"method.{field}" not in given:
            raise ConfigError(
                f"--config.method.name={name} leaves config.method.{field} = {now[field]!r}, but "
                f"{config.data.name} has {value!r} for this method. Use the argument method={name} "
                f"of the configuration, or set --config.method.{field} too."
            )
