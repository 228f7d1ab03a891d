"""What can be wrong with a configuration file, in one line for who wrote it."""

import difflib
import os
import re
import traceback

import ml_collections

from input_pipeline import near_names
from rcc_jax import shipped
from rcc_jax.errors import ConfigError


def fault(given: str, error: Exception) -> str:
    """A message on what reading a configuration file has raised.

    Args:
        given: FILE[:ARGUMENTS], as --config was given.
        error: What was raised.
    """
    path = shipped.find(given).partition(":")[0]
    if isinstance(error, OSError) and not os.path.exists(path):
        return f"--config={given}: no such file; {_where(path)}"
    if isinstance(error, SyntaxError):
        return f"--config={given}: {error.msg} ({error.filename}, line {error.lineno})."
    if isinstance(error, AttributeError) and "'get_config'" in str(error):
        return (
            f"--config={given}: the file has no function get_config(arguments=None), which returns "
            "the configuration; configs/folder.py shows one."
        )
    # Behind the first line of an error of ml_collections stand all fields.
    said = str(error.args[0] if error.args else "").partition(" Other fields")[0].splitlines()
    frame = traceback.extract_tb(error.__traceback__)[-1]
    for each in traceback.extract_tb(error.__traceback__):
        frame = each if each.filename.endswith(path) else frame
    return (
        f"--config={given}: {type(error).__name__}: {said[0] if said else ''} "
        f"({frame.filename}, line {frame.lineno})."
    )


def _where(path: str) -> str:
    # A bare name is one of a configuration, whatever folders have one like it.
    hint = near_names.hint(path) if path.endswith(".py") else ""
    if not hint and (meant := shipped.nearest(path)):
        hint = f" Did you mean {meant!r}?"
    return f"one is configs/demo.py, which ships with the program.{hint}"


def fault_of_traceback(given: str, text: str) -> str:
    """The same of an error that ml_collections has turned into text, with its traceback."""
    file = shipped.find(given).partition(":")[0]
    places = re.findall(r'File "(.*)", line (\d+)', text)
    name, line = next((x for x in places[::-1] if x[0].endswith(file)), places[-1])
    return f"--config={given}: {text.strip().splitlines()[-1]} ({name}, line {line})."


def check_fields(config: object, given: str) -> None:
    """Refuses a configuration with other fields than those of rcc_jax/config/schema.py.

    A field that is misspelt in a file would otherwise be a new one that nothing reads.

    Args:
        config: What get_config has returned.
        given: The option that named the file, for messages.

    Raises:
        ConfigError: Naming the first field.
    """
    if not isinstance(config, ml_collections.ConfigDict):
        raise ConfigError(
            f"{given}: get_config returns {type(config).__name__}, and not the configuration that "
            "configs/common.py makes."
        )
    known, found = _fields(shipped.load("common").get_config()), _fields(config)
    for field in found:
        if field not in known:
            close = difflib.get_close_matches(field, known, n=1)
            hint = f"did you mean config.{close[0]}?" if close else "see docs/fields.md."
            raise ConfigError(f"{given}: sets config.{field}, which is no field; {hint}")
    for field in known:
        if field not in found:
            raise ConfigError(
                f"{given}: lacks config.{field}; start from common.get_config() and change it."
            )


def _fields(config: ml_collections.ConfigDict) -> list[str]:
    return [
        f"{group}.{name}" if name else group
        for group, value in config.items()
        for name in (value if isinstance(value, ml_collections.ConfigDict) else ("",))
    ]
