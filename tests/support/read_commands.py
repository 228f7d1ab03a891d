"""Reads command lines of main.py as the program does, and runs none.

Standard input has a JSON list of lists of arguments. Standard output gets a JSON list with the
program's message for each: '' if it accepts the arguments. If a command reads the configuration of
an earlier run, one is put into the folder that it names, relative to the working directory.
"""

import json
import os
import pathlib
import sys

from rcc_jax import shipped
from rcc_jax.commands import flags as cli
from rcc_jax.config import fields, method_group


def say(arguments: list[str]) -> str:
    """The program's message for these arguments."""
    read, write = os.pipe()
    # The flags of a process can be read once.
    child = os.fork()
    if child == 0:
        os.close(read)
        os.dup2(write, sys.stderr.fileno())
        status = 1
        try:
            _read(["main.py", *arguments])
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as stream:
        said = stream.read().strip()
    _, status = os.waitpid(child, 0)
    return said or ("it ends with an error" if status else "")


def _read(argv: list[str]) -> None:
    sys.argv = argv
    for argument in argv:
        flag, _, folder = argument.partition("=")
        if flag == "--workdir" and not os.path.isabs(folder):
            _put_configuration(pathlib.Path(folder))
    try:
        cli.parse(argv)
        for override in cli.SET.value:
            fields.read_override(override)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise


def _put_configuration(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = shipped.load("common").get_config()
    (folder / "config.json").write_text(json.dumps(method_group.resolved(config)))


if __name__ == "__main__":
    shipped.offer_configs()
    print(json.dumps([say(arguments) for arguments in json.load(sys.stdin)]))
