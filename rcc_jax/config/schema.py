"""All fields of a configuration with their defaults, bounds and meanings; no JAX.

`configs/common.py` builds configurations from them. `groups.py` declares the groups; the fields of
the group `method` are declared by the training methods (rcc_jax/methods).
"""

from collections.abc import Mapping

import ml_collections

from rcc_jax.config.groups import GROUPS, Top
from rcc_jax.methods import METHODS
from rcc_jax.models import families
from rcc_jax.options import Option, options

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
