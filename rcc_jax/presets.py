"""What the name of a method stands for, and the data that it needs; known without JAX."""

from collections.abc import Iterator, Mapping

import ml_collections

from rcc_jax.errors import ConfigError

# `cc` leaves its kind of consensus to the caller.
PRESETS: Mapping[str, Mapping] = {
    "supervised": {"strong_views": 0, "feature_perturbation": False},
    "fixmatch": {"strong_views": 1, "feature_perturbation": False},
    "unimatch": {"strong_views": 2, "feature_perturbation": True},
    "cc": {"strong_views": 2, "feature_perturbation": True, "consensus": "l2"},
    "rcc": {"strong_views": 2, "feature_perturbation": True, "consensus": "rank"},
}


def check(config: ml_collections.ConfigDict) -> None:
    """Refuses a method that the classes or the lists cannot serve.

    Raises:
      ConfigError: the first fault.
    """
    for message in faults(config):
        raise ConfigError(message)


def faults(config: ml_collections.ConfigDict) -> Iterator[str]:
    """Every reason why the method cannot train on such data, as messages."""
    name = config.method.name
    if name not in PRESETS:
        yield f"config.method.name = {name!r} is not known; use one of {', '.join(PRESETS)}."
        return
    try:
        check_classes(config)
    except ConfigError as error:
        yield str(error)
    # A TFDS dataset has a training split, whose other images are the unlabelled ones.
    unlabeled = config.data.unlabeled or config.data.train or config.data.source == "tfds"
    if PRESETS[name]["strong_views"] and not unlabeled:
        yield (
            f"config.method.name = {name!r} needs unlabelled images; set "
            "config.data.unlabeled to a list, a folder or a glob (or config.data.train to a list "
            "of all training images), or train with config.method.name=supervised."
        )


def consensus_kind(config: ml_collections.ConfigDict) -> str:
    """The kind of the consensus term, 'none' where the method has none.

    Raises:
      ConfigError: a kind that does not go with the method.
    """
    name, kind = config.method.name, config.method.consensus_kind
    allowed = {"cc": ("l2", "ce", "kl"), "rcc": ("rank",)}.get(name, ("none",))
    if not kind:
        return PRESETS[name].get("consensus", "none")
    if kind not in allowed:
        raise ConfigError(
            f"config.method.consensus_kind = {kind!r} does not go with config.method.name = "
            f"{name!r}; leave it empty or use one of {', '.join(allowed)}."
        )
    return kind


def check_classes(config: ml_collections.ConfigDict) -> None:
    """Refuses players that do not fit the classes.

    Raises:
      ConfigError: too few classes for a consensus, or a number of players out of range.
    """
    fields, num_classes = config.method, config.data.num_classes
    if consensus_kind(config) == "none":
        return
    if num_classes < 3:
        raise ConfigError(
            f"config.method.name = {fields.name!r} compares pairs of classes and needs at "
            f"least 3 classes, but config.data.num_classes = {num_classes}; use "
            "config.method.name=unimatch."
        )
    if not 3 <= fields.top_n <= min(8, num_classes):
        raise ConfigError(
            f"config.method.top_n = {fields.top_n} must be from 3 to "
            f"{min(8, num_classes)} for config.data.num_classes = {num_classes}."
        )
