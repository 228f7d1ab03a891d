"""Weights that have a name: where `config.model.pretrained` finds them on the hub; no JAX."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections

# The usual weights of the backbone if they are available, otherwise random ones.
AUTO = "auto"
_PREFIX = "hub:"
_REFERENCE = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Published:
    """Weights that a hub offers for one backbone.

    Attributes:
        repository: OWNER/NAME on the hub.
        needs: The values of `config.model` that they fit; other fields are free.
    """

    repository: str
    needs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_RESNET = {"stem": "v1", "width": 64}
# Short names of each backbone, the usual weights first. A new backbone adds its entry here.
PUBLISHED: dict[str, dict[str, Published]] = {
    "resnet18": {"imagenet": Published("timm/resnet18.tv_in1k", _RESNET)},
    "resnet34": {"imagenet": Published("timm/resnet34.tv_in1k", _RESNET)},
    "resnet50": {"imagenet": Published("timm/resnet50.tv_in1k", _RESNET)},
    "resnet101": {"imagenet": Published("timm/resnet101.tv_in1k", _RESNET)},
    "resnet50_c4": {
        "imagenet": Published("timm/resnet50.tv_in1k", {**_RESNET, "allow_unused": "layer4,fc"})
    },
    "dinov2_small": {"dinov2": Published("facebook/dinov2-small")},
    "dinov2_base": {"dinov2": Published("facebook/dinov2-base")},
    "dinov2_large": {"dinov2": Published("facebook/dinov2-large")},
}


@dataclasses.dataclass(frozen=True)
class Place:
    """Where weights are on the hub.

    Attributes:
        repository: OWNER/NAME.
        revision: Branch, tag or commit.
    """

    repository: str
    revision: str = "main"

    @property
    def name(self) -> str:
        """The value of `config.model.pretrained` that names the repository."""
        return _PREFIX + self.repository


def place(model: ml_collections.ConfigDict) -> Place | None:
    """Where on the hub `model.pretrained` is; None if it is 'auto', empty or a path."""
    given = model.pretrained
    if given in (names := PUBLISHED.get(model.backbone, {})):
        return Place(names[given].repository)
    if not given.startswith(_PREFIX):
        return None
    match = _REFERENCE.fullmatch(given.removeprefix(_PREFIX))
    return match and Place(match["repository"], match["revision"] or "main")


def usual(model: ml_collections.ConfigDict) -> tuple[Place | None, str]:
    """Where the usual weights of the backbone are, or None and the reason why there are none."""
    first = next(iter(PUBLISHED.get(model.backbone, {}).values()), None)
    if first is None:
        return None, f"none are known for {model.backbone}"
    if unmet := _unmet(first, model):
        return None, f"published ones need {unmet}"
    return Place(first.repository), ""


def is_path(model: ml_collections.ConfigDict) -> bool:
    """Whether `model.pretrained` names a file or folder."""
    given = model.pretrained
    return bool(given) and given not in {AUTO, *_all_names()} and not given.startswith(_PREFIX)


def names(backbone: str) -> str:
    """The names that `model.pretrained` takes for a backbone, for messages."""
    return ", ".join([*PUBLISHED.get(backbone, {}), AUTO, f"{_PREFIX}OWNER/NAME"])


def needs(backbone: str) -> Mapping[str, Any]:
    """The values of `config.model` that the usual weights of a backbone fit."""
    return next((each.needs for each in PUBLISHED.get(backbone, {}).values()), {})


def faults(
    model: ml_collections.ConfigDict,
    field: str = "model.pretrained",
    backbone_field: str = "model.backbone",
) -> Iterator[str]:
    """Yields a message if the named weights are not those of this network.

    Args:
        model: The fields of the network, as `config.model` has them.
        field: The field that its `pretrained` comes from, for the message.
        backbone_field: The field that its `backbone` comes from.
    """
    given, backbone = model.pretrained, model.backbone
    if given == AUTO or not given or is_path(model):
        return
    said = f"config.{field} = {given!r}"
    found = place(model)
    if found is None and given.startswith(_PREFIX):
        yield (
            f"{said} must be hub:OWNER/NAME, or hub:OWNER/NAME@REVISION for another revision than "
            "'main'."
        )
    elif found is None:
        yield f"{said}: {backbone} has no weights of this name; use one of {names(backbone)}."
    else:
        owners = {
            owner: published
            for owner, each in PUBLISHED.items()
            for published in each.values()
            if published.repository == found.repository
        }
        if backbone in owners:
            if unmet := _unmet(owners[backbone], model):
                yield f"{said}: these weights need {unmet}; set it, or name other weights."
        elif owners:
            yield (
                f"{said}: these are weights of {' and '.join(owners)}, config.{backbone_field} = "
                f"{backbone!r}; change one of them."
            )


def _unmet(published: Published, model: ml_collections.ConfigDict) -> str:
    """The flags that the weights need and the model lacks; '' if they fit."""
    return " ".join(
        f"--config.model.{name}={value}"
        for name, value in published.needs.items()
        if model[name] != value
    )


def _all_names() -> set[str]:
    return {name for each in PUBLISHED.values() for name in each}
