"""The configuration that a run was started with, read from its config.json; no JAX."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections

from input_pipeline import near_names
from rcc_jax.config import schema
from rcc_jax.errors import ConfigError
from rcc_jax.options import without_effectless

FILE = "config.json"


def recorded_fields(workdir: str | os.PathLike) -> dict[str, Any] | None:
    """The configuration of the run in a folder by dotted field; None if there is no run.

    Fields that the run's method does not have are left out: they had no effect. Older runs
    recorded the fields of all methods.

    Raises:
        ConfigError: If the record cannot be parsed.
    """
    file = pathlib.Path(workdir) / FILE
    if not os.path.exists(file):
        return None
    try:
        fields = flatten(json.loads(file.read_text()))
    except (ValueError, AttributeError):
        raise ConfigError(
            f"{file}: not a JSON object, so the run in this folder is unknown; use another "
            "--workdir"
        ) from None
    group = {x.removeprefix("method."): fields.pop(x) for x in _of_method(fields)}
    return {**fields, **{f"method.{name}": value for name, value in fit_method(group).items()}}


def _of_method(fields: Mapping[str, Any]) -> list[str]:
    return [field for field in fields if field.startswith("method.")]


def fit_method(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded group `method` with the names of this version and only the method's fields.

    Fields that have no effect have their defaults.
    """
    fields = dict(recorded)
    renamed = fields.pop("consensus_kind", None)
    if renamed:  # In older runs, empty meant the method's own kind.
        fields.setdefault("consensus", renamed)
    own = schema.method_fields(fields.get("name", schema.AUTO))
    fields = {field: x for field, x in fields.items() if field in ("name", *own)}
    return without_effectless(own, fields)


def values_before(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the fields that did not exist when a run was recorded.

    Args:
        fields: `recorded_fields` of the run.

    Returns:
        Values by dotted field; they reproduce the run.
    """
    declared = schema.fields()
    own = schema.method_fields(fields.get("method.name", schema.AUTO))
    declared |= {f"method.{name}": each for name, each in own.items()}
    return {
        field: list(each.before) if isinstance(each.before, tuple) else each.before
        for field, each in declared.items()
        if each.came_later and field not in fields
    }


def read(workdir: str | os.PathLike) -> ml_collections.ConfigDict:
    """The configuration of a run, with the fields of this version.

    Raises:
        ConfigError: If the folder holds no run, or the run has fields that this version lacks.
    """
    path = pathlib.Path(workdir) / FILE
    try:
        fields = recorded_fields(workdir)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    if fields is None:
        raise ConfigError(
            f"{path}: no such file; is {workdir} the folder of a run?{near_names.hint(workdir)}"
        )
    config = schema.defaults().lock()
    try:
        config.update_from_flattened_dict({**values_before(fields), **with_tuples(fields)})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        # Drops the list of all fields at the end of a KeyError.
        reason = str(error).strip("\"'").partition(" Other fields")[0]
        raise ConfigError(f"{path}: not a configuration of this version: {reason}") from None
    return config.unlock()


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted name; an empty group counts as a value."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def nest(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    nested: dict[str, Any] = {}
    for field, value in fields.items():
        *groups, name = field.split(".")
        group = nested
        for each in groups:
            group = group.setdefault(each, {})
        group[name] = value
    return nested


def with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Turns the lists of JSON back into tuples."""
    return {field: tuple(x) if isinstance(x, list) else x for field, x in fields.items()}
