"""Fields as typed on the command line: similar names, and values parsed by type; no JAX."""

import ast
import csv
from collections.abc import Iterable

import ml_collections

from input_pipeline import near_names
from rcc_jax import shipped
from rcc_jax.errors import ConfigError

_TRUE, _FALSE = ("true", "t", "1"), ("false", "f", "0")


def known() -> list[str]:
    """Every field of a configuration as GROUP.NAME, then the groups and the top-level fields."""
    config = shipped.load("common").get_config().to_dict()
    grouped = [
        f"{group}.{name}"
        for group, fields in config.items()
        for name in (fields if isinstance(fields, dict) else ())
    ]
    return grouped + list(config)


def nearest(field: str) -> list[str]:
    """The fields that may have been meant by an unknown one.

    These are the fields of the same name in other groups. If there are none, it is the field with
    the most similar name, in the typed group if it has one.
    """
    fields = known()
    group, _, name = field.rpartition(".")
    same = [each for each in fields if _name(each) == name]
    if same:
        return same
    own = [each for each in fields if each.rpartition(".")[0] == group]
    for pool in (own, fields):
        if (close := near_names.nearest(name, map(_name, pool))) is not None:
            return [each for each in pool if _name(each) == close]
    return []


def unknown(flag: str, field: str, prefix: str = "--config.") -> str | None:
    """A message about an unknown field; None if the field exists.

    Args:
        flag: The flag as typed, for the message.
        field: Dotted name of the field.
        prefix: Prefix of the fields that the message suggests.
    """
    fields = known()
    if field in fields:
        return None
    group = field.rpartition(".")[0]
    own = [_name(each) for each in fields if each.rpartition(".")[0] == group != ""]
    if meant := " or ".join(f"{prefix}{each}" for each in nearest(field)):
        hint = f"did you mean {meant}?"
    else:
        hint = f"{group} has {', '.join(own)}." if own else "see docs/fields.md."
    return f"{flag}: there is no such field; {hint}"


def override(
    config: ml_collections.ConfigDict, field: str, texts: Iterable[str | None], option: str
) -> object:
    """Sets a field to the typed text, parsed by the type of the field.

    Args:
        config: The configuration.
        field: An existing field, GROUP.NAME or NAME.
        texts: The typed values, several if the option was repeated: a tuple takes all of them,
            other fields the last. None stands for an option without a value, which means true.
        option: The option as typed, without the value, for messages.

    Returns:
        The new value.

    Raises:
        ConfigError: If the value has the wrong type.
    """
    group, _, name = field.rpartition(".")
    holder = config[group] if group else config
    values = [_parse(holder.get_type(name), text, option) for text in texts]
    is_tuple = isinstance(values[-1], tuple)
    holder[name] = tuple(item for value in values for item in value) if is_tuple else values[-1]
    return holder[name]


def read_override(override_text: str) -> object:
    """The value of FIELD=VALUE as a run would read it from --config.FIELD=VALUE.

    Raises:
        ConfigError: If the field is unknown or the value has the wrong type.
    """
    field, _, text = override_text.partition("=")
    option = f"--set={field}"
    if (message := unknown(option, field, "--set=")) is not None:
        raise ConfigError(message)
    return override(shipped.load("common").get_config(), field, [text], option)


def _name(field: str) -> str:
    return field.rpartition(".")[2]


def _parse(field_type: type, text: str | None, option: str) -> object:
    if text is None:
        if not issubclass(field_type, bool):
            raise ConfigError(f"{option}: has no value; write {option}=VALUE.")
        text = "true"
    typed = f"{option}={text}"
    if issubclass(field_type, ml_collections.ConfigDict):
        raise ConfigError(f"{typed}: is a group of fields; set one of them.")
    if issubclass(field_type, bool):
        if text.lower() not in (*_TRUE, *_FALSE):
            raise ConfigError(f"{typed}: must be true or false.")
        return text.lower() in _TRUE
    if issubclass(field_type, int | float):
        try:
            return field_type(text)
        except ValueError:
            kind = "whole number" if issubclass(field_type, int) else "number"
            raise ConfigError(f"{typed}: must be a {kind}.") from None
    return _parse_tuple(text, typed) if issubclass(field_type, tuple) else text


def _parse_tuple(text: str, typed: str) -> tuple:
    if not text:
        return ()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _names(text, typed)
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _names(text: str, typed: str) -> tuple[str, ...]:
    """Comma-separated names, each with or without quotes."""
    mark = '"' if '"' in text else "'"
    try:
        (row,) = csv.reader([text], quotechar=mark, skipinitialspace=True, strict=True)
        names = [name.strip() for name in row]
    except (csv.Error, ValueError):
        names = [""]
    if not all(names):
        raise ConfigError(
            f"{typed}: must be comma-separated names or numbers; put a name with a comma in "
            "quotes: \"'name, one',two\"."
        )
    return tuple(names)
