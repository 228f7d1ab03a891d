"""Fields of a configuration as typed: which was meant, whether a value fits; no JAX."""

import difflib
import re

from absl import flags
from ml_collections import config_flags

from rcc_jax import shipped
from rcc_jax.errors import ConfigError

# More fields of a like name than this would be no hint.
_MOST = 3
_PLAIN = {
    "invalid literal for int": "must be a whole number.",
    "could not convert string to float": "must be a number.",
    "Non-boolean argument": "must be true or false.",
    "as tuple": "must be names or numbers with commas between; names that have blanks in "
    "quotes: \"'name one','name two'\".",
    "is not a dict": "is a group of fields; set one of them.",
}


def known() -> list[str]:
    """Every field of a configuration as GROUP.NAME, then the groups and what is in none."""
    config = shipped.load("common").get_config().to_dict()
    grouped = [
        f"{group}.{name}"
        for group, fields in config.items()
        for name in (fields if isinstance(fields, dict) else ())
    ]
    return grouped + list(config)


def nearest(field: str) -> list[str]:
    """The fields that may have been meant by one that there is not; at most three.

    Of the same name in another group, else like it or short for it, in its group before others.
    """
    fields = known()
    group, _, name = field.rpartition(".")
    same = [each for each in fields if _name(each) == name]
    if same:
        return same
    own = [each for each in fields if each.rpartition(".")[0] == group]
    for pool in (own, fields):
        for found in (_misspelt(name, pool), _shortened(name, pool)):
            if 0 < len(found) <= _MOST:
                return found
    return []


def unknown(flag: str, field: str, prefix: str = "--config.") -> str | None:
    """A message on a field that no configuration has, None where there is one of this name.

    Args:
        flag: How it was typed, for the message.
        field: Its dotted name.
        prefix: What stands before a field that is proposed.
    """
    if field in known():
        return None
    meant = " or ".join(f"{prefix}{each}" for each in nearest(field))
    hint = f"did you mean {meant}?" if meant else "see docs/fields.md."
    return f"{flag}: there is no such field; {hint}"


def in_plain_words(message: str) -> str:
    """What absl says of a value that cannot be read, without the words of Python's own errors."""
    given = re.match(r"flag (--[\w.]+=.*?): ", message)
    for python, plain in _PLAIN.items():
        if given and python in message:
            return f"{given[1]}: {plain}"
    return message


def read_override(override: str) -> object:
    """The value of FIELD=VALUE as a run would read it from --config.FIELD=VALUE.

    Raises:
        ConfigError: For an unknown field, or a value of another type.
    """
    field = override.partition("=")[0]
    if (message := unknown(f"--set={field}", field, "--set=")) is not None:
        raise ConfigError(message)
    values, argument = flags.FlagValues(), f"--config.{override}"
    config_flags.DEFINE_config_dict(
        "config", shipped.load("common").get_config(), flag_values=values, sys_argv=["", argument]
    )
    try:
        values(["", argument])
    except flags.Error as error:
        said = in_plain_words(str(error)).replace(f"--config.{field}", f"--set={field}")
        raise ConfigError(said) from None
    return config_flags.get_override_values(values["config"])[field]


def _name(field: str) -> str:
    return field.rpartition(".")[2]


def _misspelt(name: str, fields: list[str]) -> list[str]:
    close = difflib.get_close_matches(name, map(_name, fields), n=1, cutoff=0.7)
    return [each for each in fields if _name(each) in close]


def _shortened(name: str, fields: list[str]) -> list[str]:
    """Those whose initials or part the name is: lr, epochs, batch."""
    if len(name) < 2:
        return []
    found = [each for each in fields if "".join(word[0] for word in _name(each).split("_")) == name]
    return found or [each for each in fields if len(name) > 2 and name in _name(each)]
