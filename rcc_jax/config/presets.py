"""What the name of a method stands for, and the data that it needs; known without JAX."""

from collections.abc import Collection, Iterator, Mapping

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
# More take too long: their coalitions double with each.
_MOST_PLAYERS = 8


def faults(config: ml_collections.ConfigDict, *, left: Collection[str] = ()) -> Iterator[str]:
    """Every reason why a known method cannot train on such data, as messages.

    Args:
        config: The configuration.
        left: Fields that are left to the data and have no value yet.
    """
    name = config.method.name
    if name not in PRESETS:
        return
    yield from _faults_of_classes(config, left)
    # A TFDS dataset has a training split, whose other images are the unlabelled ones.
    unlabeled = config.data.unlabeled or config.data.train or config.data.source == "tfds"
    if PRESETS[name]["strong_views"] and not unlabeled and "data.unlabeled" not in left:
        yield (
            f"config.method.name = {name!r} needs unlabelled images; set "
            "config.data.unlabeled to a list, a folder or a glob (or config.data.train to a list "
            "of all training images), or train with config.method.name=supervised."
        )


def consensus_kind(config: ml_collections.ConfigDict) -> str:
    """The kind of the consensus term, 'none' where the method has none.

    Raises:
        ConfigError: A kind that does not go with the method.
    """
    for fault in _faults_of_kind(config):
        raise ConfigError(fault)
    return config.method.consensus_kind or PRESETS[config.method.name].get("consensus", "none")


def check_classes(config: ml_collections.ConfigDict) -> None:
    """Refuses players that do not fit the classes.

    Raises:
        ConfigError: A kind that does not go with the method, too few classes for a consensus, or a
            number of players out of range; every fault, one a line.
    """
    found = list(_faults_of_classes(config))
    if found:
        raise ConfigError("\n".join(found))


def _faults_of_kind(config) -> Iterator[str]:
    name, kind = config.method.name, config.method.consensus_kind
    allowed = {"cc": ("l2", "ce", "kl"), "rcc": ("rank",)}.get(name, ("none",))
    if kind and kind not in allowed:
        yield (
            f"config.method.consensus_kind = {kind!r} does not go with config.method.name = "
            f"{name!r}; leave it empty or use one of {', '.join(allowed)}."
        )


def _faults_of_classes(config, left: Collection[str] = ()) -> Iterator[str]:
    yield from _faults_of_kind(config)
    fields, num_classes = config.method, config.data.num_classes
    if (fields.consensus_kind or PRESETS[fields.name].get("consensus", "none")) == "none":
        return
    if num_classes == 2:
        yield (
            f"config.method.name = {fields.name!r} compares pairs of classes and needs at "
            f"least 3 classes, but config.data.num_classes = {num_classes}; use "
            "config.method.name=unimatch."
        )
        return
    # Fewer than two are left to the data, or a fault by themselves.
    is_known = num_classes > 2
    most = min(_MOST_PLAYERS, num_classes) if is_known else _MOST_PLAYERS
    if not 3 <= fields.top_n <= most and "method.top_n" not in left:
        reason = f" for config.data.num_classes = {num_classes}" if is_known else ""
        yield f"config.method.top_n = {fields.top_n} must be from 3 to {most}{reason}."
