"""The networks that a configuration trains: one, or a second one of another kind beside it."""

import dataclasses
import math
from typing import Any

import ml_collections

from rcc_jax.config import groups, method_group, named_weights
from rcc_jax.methods import METHODS
from rcc_jax.models import families
from rcc_jax.options import options


@dataclasses.dataclass(frozen=True)
class Member:
    """A network with settings of its own.

    Attributes:
        name: Its name in the module that is trained: 'main' predicts, 'second' is beside it.
        model: `config.model` with its backbone and its first weights.
        backbone_field, field: The fields that name these two.
    """

    name: str
    model: ml_collections.ConfigDict
    backbone_field: str
    field: str

    @property
    def family(self) -> families.Family | None:
        """The kind of network; None if the backbone is not known."""
        return families.BACKBONES.get(self.model.backbone)

    @property
    def multiple(self) -> int:
        """The number whose multiples are the heights and widths of the network's images."""
        return 1 if self.family is None else self.family.multiple


def members(config: ml_collections.ConfigDict) -> tuple[Member, ...]:
    """The main network, and the second one of a method with a field `second_backbone`."""
    main = Member("main", config.model, "model.backbone", "model.pretrained")
    chosen = method_group.values(config) if config.method.name in METHODS else {}
    if "second_backbone" not in chosen:
        return (main,)
    backbone, pretrained = chosen["second_backbone"], chosen["second_pretrained"]
    changes: dict[str, Any] = {"backbone": backbone, "pretrained": pretrained}
    # These fields are about the main network's file; the parts of this one have other names.
    defaults = options(groups.Model)
    for name in ("allow_missing", "allow_unused"):
        changes[name] = named_weights.needs(backbone).get(name, defaults[name].default)
    model = ml_collections.ConfigDict({**config.model.to_dict(), **changes})
    return main, Member("second", model, "method.second_backbone", "method.second_pretrained")


def paths(config: ml_collections.ConfigDict) -> dict[str, str]:
    """The first weights by the names of the networks, where their fields are paths."""
    return {member.name: member.model.pretrained for member in members(config)}


def kinds(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """The kinds of network and of optimizer that a configuration chooses; see `Option.only`."""
    found = (member.family for member in members(config))
    return (*(family.name for family in found if family is not None), config.optimizer.name)


def own_fields(backbone: str) -> list[str]:
    """Names of the fields of `config.model` that only networks with such a backbone have."""
    kind = families.BACKBONES[backbone].name
    return [name for name, each in options(groups.Model).items() if each.only == kind]


def crop_multiple(config: ml_collections.ConfigDict) -> int:
    """The number of which the sides of a crop must be multiples, so that every network takes it."""
    return math.lcm(*(member.multiple for member in members(config)))
