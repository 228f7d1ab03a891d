"""Reads a configuration file; any fault in it is reported in one line."""

import importlib.util
import os
import sys
import traceback
import types

import ml_collections

from input_pipeline import near_names
from input_pipeline.errors import first_line
from rcc_jax import shipped
from rcc_jax.errors import ConfigError

_MODULE = "configuration file"


def load(given: str) -> ml_collections.ConfigDict:
    """What `get_config` of a configuration file returns, locked.

    Args:
        given: FILE[:ARGUMENTS], as typed after --config. FILE may be a name that `shipped.find`
            knows; ARGUMENTS is the argument of `get_config`.

    Raises:
        ConfigError: Naming the file, the line and the fault.
    """
    path, colon, arguments = shipped.find(given).partition(":")
    option = f"--config={given}"
    if not os.path.isfile(path):
        raise ConfigError(f"{option}: no such file; {_where(path)}")
    try:
        module = _import(path)
        if callable(getattr(module, "get_config", None)):
            config = module.get_config(*([arguments] if colon else []))
        else:
            raise ConfigError(
                f"{option}: the file has no function get_config(arguments=None) that returns the "
                "configuration; see configs/folder.py for one."
            )
    except ConfigError:
        raise
    except SyntaxError as error:
        raise ConfigError(
            f"{option}: {error.msg} ({error.filename}, line {error.lineno})."
        ) from None
    except Exception as error:  # The user's file may raise anything.
        raise ConfigError(f"{option}: {first_line(error)} ({_place(error, path)}).") from None
    if not isinstance(config, ml_collections.ConfigDict):
        raise ConfigError(
            f"{option}: get_config returns {type(config).__name__}, and not the configuration "
            "that configs/common.py makes."
        )
    return config.lock()


def _import(path: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module  # Dataclasses in the file look up their module here.
    spec.loader.exec_module(module)
    return module


def _place(error: Exception, path: str) -> str:
    """The line of the file that raised the error, directly or through a call."""
    frames = traceback.extract_tb(error.__traceback__)
    path = os.path.abspath(path)
    own = [frame for frame in frames if os.path.abspath(frame.filename) == path]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else path


def _where(path: str) -> str:
    # A bare name means a shipped configuration, even if a folder has a similar name.
    hint = near_names.hint(path) if path.endswith(".py") else ""
    if not hint and (meant := shipped.nearest(path)):
        hint = f" Did you mean {meant!r}?"
    return f"for example, configs/demo.py ships with the program.{hint}"


def check_fields(config: ml_collections.ConfigDict, given: str) -> None:
    """Rejects a configuration whose fields are not those of rcc_jax/config/schema.py.

    Otherwise a misspelt field in a file would become a new one that nothing reads.

    Args:
        config: The result of get_config.
        given: The option that named the file, for messages.

    Raises:
        ConfigError: Naming the first field.
    """
    known, found = _fields(shipped.load("common").get_config()), _fields(config)
    for field in found:
        if field not in known:
            close = near_names.nearest(field, known)
            hint = f"did you mean config.{close}?" if close else "see docs/fields.md."
            raise ConfigError(f"{given}: sets config.{field}, which does not exist; {hint}")
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
