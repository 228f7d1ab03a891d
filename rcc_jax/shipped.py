"""Where the program is, how it is started, and the configurations that ship with it.

The project's folder and an installed wheel have the same layout: `configs` is beside `rcc_jax`. All
paths into it are made here. Configurations are found by name when they are needed: this package
imports none, so that a user's own folder `configs` comes first.
"""

import functools
import importlib.machinery
import importlib.util
import os
import pathlib
import sys
import types

from input_pipeline import near_names

# The project's folder, or the site-packages of an environment.
_ROOT = pathlib.Path(__file__).resolve().parents[1]
_MAIN = _ROOT / "main.py"
# What a user's own configurations are called, relative to the working directory.
_OWN = pathlib.Path("configs")
CONFIGS = _ROOT / "configs"
# A wheel holds neither file; another package may leave a main.py in site-packages.
IS_CHECKOUT = _MAIN.is_file() and (_ROOT / "pyproject.toml").is_file()


def command() -> list[str]:
    """What starts this program in another process of the same working directory."""
    return [sys.executable, *([str(_MAIN)] if IS_CHECKOUT else ["-m", "rcc_jax"])]


def command_as_typed() -> str:
    """The same as a user types it."""
    return "python main.py" if IS_CHECKOUT else "python -m rcc_jax"


def find(given: str) -> str:
    """The file that a configuration is in.

    Args:
        given: NAME[:ARGUMENTS]. NAME is a file, or one of `./configs/` or of the configurations
            that ship, in this order; with or without `configs/` and `.py`.

    Returns:
        The same with the path of the file; as given if there is no such file.
    """
    file, colon, arguments = given.partition(":")
    name = _name(file)
    if not name.name or name.is_absolute() or os.path.isfile(file):
        return given
    if name.suffix != ".py":
        name = name.with_name(f"{name.name}.py")
    for folder in (_OWN, CONFIGS):
        if (folder / name).is_file():
            return f"{folder / name}{colon}{arguments}"
    return given


def nearest(file: str) -> str | None:
    """The configuration nearest to a name that `find` does not know, None if none is similar."""
    names = {
        path.relative_to(folder).with_suffix("").as_posix(): path.relative_to(folder)
        for folder in (CONFIGS, _OWN)
        for path in sorted(folder.rglob("*.py"))
    }
    wanted = _name(file).as_posix().removesuffix(".py")
    close = near_names.nearest(wanted, names)
    return str(_OWN / names[close]) if close is not None else None


def _name(file: str) -> pathlib.PurePath:
    path = pathlib.PurePath(file)
    return path.relative_to(_OWN) if _OWN in path.parents else path


@functools.cache
def load(name: str) -> types.ModuleType:
    """A configuration file that ships, as a module that is not in `sys.modules`.

    Args:
        name: 'common' for the fields and their defaults, 'recorded' for those of a run.
    """
    path = CONFIGS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"rcc_jax shipped {name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def offer_configs() -> None:
    """Makes `from configs import common` work in a configuration file.

    Files of `./configs/` come first, then those that ship; other packages `configs` are ignored.
    """
    folders = dict.fromkeys(path.resolve() for path in (_OWN, CONFIGS) if path.is_dir())
    spec = importlib.machinery.ModuleSpec("configs", None, is_package=True)
    spec.submodule_search_locations = [str(folder) for folder in folders]
    sys.modules["configs"] = importlib.util.module_from_spec(spec)
