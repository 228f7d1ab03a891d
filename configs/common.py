"""Defaults and helpers for the files of this folder.

A configuration file imports this module, changes what it needs and returns the result from
`get_config(arguments)`. On the command line, `--config.group.field=value` sets any field. The
fields, their defaults and meanings are in rcc_jax/config/schema.py, those of the methods in
rcc_jax/methods.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from rcc_jax.config import method_group, named_weights, networks, schema
from rcc_jax.config.stages import Stage
from rcc_jax.errors import ConfigError


def get_config() -> ml_collections.ConfigDict:
    """The defaults: the paper's setting for PASCAL VOC, without the data."""
    return schema.defaults()


def parse_arguments(text: str | None, **defaults) -> dict:
    """Parses the part of `--config=FILE:ARGUMENTS` after the colon.

    Args:
        text: `VALUE,key=value,...`; a value without a key belongs to the first default.
        **defaults: The known keys with their default values. A type instead of a value means a
            value of this type that is None by default.

    Returns:
        One value per name in `defaults`, of the type of its default.

    Raises:
        ConfigError: If a key is unknown, a value has the wrong type or steps is below 1.
    """
    types = {name: x if isinstance(x, type) else type(x) for name, x in defaults.items()}
    found = {name: None if isinstance(x, type) else x for name, x in defaults.items()}
    for position, item in enumerate(filter(None, (text or "").split(","))):
        key, separator, value = item.partition("=")
        if not separator and position == 0:
            key, value = next(iter(defaults)), item
        elif not separator or key not in defaults:
            close = difflib.get_close_matches(key, defaults, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise ConfigError(
                f"--config argument {item!r} is not known{hint} "
                f"Known are {', '.join(f'{name}=...' for name in defaults)}."
            )
        try:
            found[key] = types[key](value)
        except ValueError:
            given = defaults[key]
            example = given if not isinstance(given, type) else given(4 if given is int else 0.5)
            raise ConfigError(
                f"--config argument {item!r} must be a number, such as {key}={example}."
            ) from None
        if key == "steps" and found[key] < 1:
            raise ConfigError(
                f"--config argument {item!r} must be at least 1; leave it out for the default."
            )
    return found


# Arguments of every cell of a table, with the field that each sets. The short names of a method's
# fields are arguments too.
_OF_CELLS = {"method": "method.name", "backbone": "model.backbone", "seed": "seed"}
# Another name of an argument.
_ALIASES = {"kind": "consensus"}


def _short_names() -> dict[str, str]:
    named = schema.method_fields(schema.AUTO).items()
    found = {each.short: f"method.{name}" for name, each in named if each.short}
    return {**found, **{alias: found[name] for alias, name in _ALIASES.items()}}


def parse_cell(text: str | None, **more) -> dict:
    """Calls `parse_arguments` with the arguments of every table of the paper, besides `more`.

    These are method, backbone and seed, and for ablations the short names of the method's fields:
    consensus (rank, l2, ce, kl, soft; also called kind), top_n (N), weight (lambda), tau, input
    (logits, probabilities), pairs (all, top), pixels (valid, confident, agreeing), gamma (threshold
    of confidence), pseudo (hard, soft), eta (share of soft labels), ema (decay) and others of one
    method, such as second (backbone of the second network). None stands for the default of the
    method.
    """
    defaults = get_config()
    shared = {
        name: defaults[field] if field == "seed" else _get(defaults, field)
        for name, field in _OF_CELLS.items()
    }
    types = {
        name: type(schema.method_fields(schema.AUTO)[field.partition(".")[2]].default)
        for name, field in _short_names().items()
    }
    # `more` comes first, since its first argument needs no name, and last, so that its values win.
    return parse_arguments(text, **{**more, **types, **shared, **more})


def apply_cell(config: ml_collections.ConfigDict, chosen: Mapping[str, Any]) -> None:
    """Sets the fields of the arguments that `parse_cell` returns.

    Raises:
        ConfigError: If the chosen method has no field for an argument.
    """
    for name, field in {**_OF_CELLS, **_short_names()}.items():
        if chosen[name] is not None:
            config.update_from_flattened_dict({field: chosen[name]})
    set_by_user = [f for name, f in _short_names().items() if chosen[name] is not None]
    if config.method.name != schema.AUTO:
        method_group.check_given(config, set_by_user)


def use_recipe(config: ml_collections.ConfigDict, chosen: Mapping[str, Any]) -> None:
    """Sets the method's fields to the recipe of the data set `config.data.name`.

    Fields for which there is an argument among `chosen`, as `parse_cell` returns them, stay.
    """
    given = {field for name, field in _short_names().items() if chosen[name] is not None}
    name, backbone = config.method.name, config.model.backbone
    fields = method_group.recipe(config.data.name, name, backbone, config.method)
    left = {name: value for name, value in fields.items() if f"method.{name}" not in given}
    method_group.set_fields(config, left)


def set_method(config: ml_collections.ConfigDict, **fields: Any) -> None:
    """Sets those fields that the chosen method has."""
    method_group.set_fields(config, fields)


def use_small_images(config: ml_collections.ConfigDict, num_steps: int) -> None:
    """A ResNet from ImageNet weights on images of a quarter of the usual area, 4 + 4 in a step."""
    config.model.stem = "v1"
    config.model.pretrained = "imagenet"
    # Parts of a file of the whole ResNet-50 that `resnet50_c4` lacks.
    config.model.allow_unused = "layer4,fc"
    config.model.decoder_channels = 64
    config.model.aspp_rates = (1, 2, 4)
    config.optimizer.learning_rate = 0.002
    config.train.batch_size = 4
    config.train.num_steps = num_steps
    config.train.log_every = 20
    config.eval.every_steps = 100


def _get(config: ml_collections.ConfigDict, field: str) -> Any:
    for name in field.split("."):
        config = config[name]
    return config


def with_seeds(cells: Sequence[str], seeds: int) -> tuple[str, ...]:
    """Runs for `sweep`: every cell with the seeds 0, 1, ..., ordered by seed.

    Args:
        cells: `configs/FILE.py:ARGUMENTS` without a seed.
        seeds: Number of seeds.

    Raises:
        ConfigError: If the number of seeds is below 1.
    """
    at_least_one(seeds, "seeds")
    # Ordered by seed, so that a sweep that is stopped early has complete tables.
    return tuple(f"{cell},seed={seed}" for seed in range(seeds) for cell in cells)


def at_least_one(value: int, name: str) -> int:
    """Returns the value of an argument if it is at least 1; else raises a ConfigError."""
    if value < 1:
        raise ConfigError(f"--config argument {name}={value} must be at least 1.")
    return value


def sweep(runs: Sequence[str | Stage]) -> ml_collections.ConfigDict:
    """A configuration for `--mode=sweep`: runs, each `configs/FILE.py:ARGUMENTS`, or stages."""
    return ml_collections.ConfigDict({"runs": tuple(runs)})


def use_imagenet(config: ml_collections.ConfigDict, stem: str | None) -> None:
    """Sets the initial weights to ImageNet's, `pretrained/<backbone>_<stem>.pth`.

    `stem` is the argument of this name, None for 'deep'. Only a ResNet may be given one.
    """
    if stem is not None and all(member.multiple > 1 for member in networks.members(config)):
        raise ConfigError(
            f"--config argument stem={stem!r} belongs to ResNets, not to "
            f"backbone={config.model.backbone}; leave it out."
        )
    config.model.stem = choose(stem or "deep", ("deep", "v1"), "stem")
    config.model.pretrained = _imagenet_file(config.model.backbone, config.model.stem)


def fit_transformer(
    config: ml_collections.ConfigDict, pretrained: str = "dinov2", **fields: Any
) -> ml_collections.ConfigDict:
    """Fits a configuration to its backbone if that is a vision transformer.

    Sizes become multiples of a patch, the optimizer is UniMatch V2's, and the encoder starts from
    published weights. Fields that only a ResNet has do nothing and may stay. If only the second
    network of the method is a transformer, only the crop becomes a multiple.

    Args:
        config: A configuration, complete for a ResNet.
        pretrained: `config.model.pretrained` of a transformer.
        **fields: Other fields for a transformer, with __ for the dot.

    Returns:
        The configuration, which is unchanged for ResNets.
    """
    _, *others = networks.members(config)
    for member in others:
        set_method(config, second_pretrained=_usual_weights(config, member.model, pretrained))
    config.data.crop_size = _rounded(config.data.crop_size, networks.crop_multiple(config))
    multiple = schema.size_multiple(config)
    if multiple == 1:
        return config
    config.eval.window = _rounded(config.eval.window, multiple)
    config.eval.stride = config.eval.window * 2 // 3
    config.eval.windows = "shifted"
    config.model.pretrained = pretrained
    config.model.allow_missing = config.model.allow_unused = ""
    # UniMatch V2 trains the encoder with 5e-6 and the head with 40 times as much.
    config.optimizer.update(
        {"name": "adamw", "learning_rate": 5e-6, "head_multiplier": 40.0, "weight_decay": 0.01}
    )
    config.update_from_flattened_dict(
        {name.replace("__", "."): value for name, value in fields.items()}
    )
    return config


def labels_alone_as_v2(
    config: ml_collections.ConfigDict, labels: int, batch_size: int, epochs: int
) -> dict[str, int]:
    """Fields of `fit_transformer` for training on the labels alone as UniMatch V2 does.

    It repeats the labelled images to 3,000 an epoch and doubles their batch. Here an epoch is one
    pass over them, so that a run of as many steps has more of them.

    Args:
        config: A configuration with its method.
        labels: Number of labelled images.
        batch_size: `train.batch_size` of a transformer.
        epochs: Number of V2's epochs.

    Returns:
        No field for other methods.
    """
    if config.method.name != "supervised":
        return {}
    steps, pass_steps = 3000 // (2 * batch_size), max(1, labels // (2 * batch_size))
    return {
        "train__num_epochs": round(epochs * steps / pass_steps),
        "eval__every_steps": steps,
    }


def _usual_weights(
    config: ml_collections.ConfigDict, second: ml_collections.ConfigDict, pretrained: str
) -> str:
    """The first weights that the main network would have with the second one's backbone."""
    if pretrained == named_weights.AUTO:
        return pretrained
    main = config.model
    is_resnet = second.backbone.startswith("resnet")
    if is_resnet and main.pretrained == _imagenet_file(main.backbone, main.stem):
        return _imagenet_file(second.backbone, main.stem)
    place, _ = named_weights.usual(second)
    return "" if place is None else place.name


def _imagenet_file(backbone: str, stem: str) -> str:
    return f"pretrained/{backbone}_{stem}.pth"


def _rounded(size: int, multiple: int) -> int:
    """The nearest multiple."""
    return (size + multiple // 2) // multiple * multiple


def fit_short(
    config: ml_collections.ConfigDict, pretrained: str = "dinov2", **fields: Any
) -> ml_collections.ConfigDict:
    """`fit_transformer` for at most some thousand steps instead of UniMatch V2's 39,000."""
    if schema.size_multiple(config) > 1 and config.method.ema_decay is None:
        set_method(config, ema_decay=0.99)
    rates = {"optimizer__learning_rate": 2e-5, "optimizer__head_multiplier": 50.0}
    return fit_transformer(config, pretrained, **rates, **fields)


def choose(value: str, choices, name: str) -> str:
    """Returns the value if it is one of the choices; else raises a ConfigError with a list."""
    if value not in choices:
        raise ConfigError(
            f"--config argument {name}={value!r} is not known; use one of {', '.join(choices)}."
        )
    return value
