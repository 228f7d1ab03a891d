"""The flags of the program: what they are, which go together, and what to say where they do not."""

import pathlib
import re
import sys
from typing import NoReturn

from absl import flags
from ml_collections import config_flags

from rcc_jax import shipped
from rcc_jax.config import fields
from rcc_jax.config import file as config_file
from rcc_jax.distributed import processes
from rcc_jax.errors import ConfigError
from rcc_jax.workdir import folder

_MODES = (
    "train", "eval", "check", "predict", "consensus", "export", "sweep", "table", "report",
)  # fmt: skip
# Modes that need no --config, as the folder of a run knows its own.
_MODES_OF_RUNS = ("eval", "predict", "consensus", "export")
# Those that read many runs and take none.
_MODES_WITHOUT_CONFIG = ("table", "report")
CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Configuration: FILE[:ARGUMENTS], or the name of one in ./configs/ or of those that ship; any "
    "field is --config.group.field=value.",
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; by default runs/<configuration and arguments>."
)
WORKDIRS = flags.DEFINE_list("workdirs", [], "report: folders of runs, instead of --workdir.")
MODE = flags.DEFINE_enum("mode", "train", _MODES, "What to do.")
CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    "latest",
    "eval, predict, consensus, export: 'latest', 'best', 'best:PROTOCOL' of an earlier way to "
    "evaluate, or the path of a checkpoint or a workdir.",
)
INPUT = flags.DEFINE_string(
    "input", "", "predict: an image, a folder or a glob; consensus: instead of the validation set."
)
OUTPUT = flags.DEFINE_string(
    "output", "", "predict, consensus, export: folder of the results; report: the page."
)
LIST = flags.DEFINE_string(
    "list",
    "",
    "eval: a list of `image label` lines in place of data.val; sweep: scores the last checkpoint "
    "of every run on it too.",
)
SAVE = flags.DEFINE_string(
    "save", "labels,overlays", "predict: also 'confidence' and 'probabilities'."
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "predict: write anew what is there.")
PAIR = flags.DEFINE_string("pair", "", "consensus: CLASS,CLASS to draw maps of.")
SHARD = flags.DEFINE_string("shard", "0/1", "sweep: INDEX/COUNT, every COUNT-th run from INDEX.")
SET = flags.DEFINE_multi_string(
    "set", [], "sweep: FIELD=VALUE for every run, such as data.root=DIR; may be repeated."
)
DISTRIBUTED = flags.DEFINE_string(
    "distributed",
    "off",
    "train and eval, on several hosts: 'auto' in a Slurm job (Open MPI and TPU pods too), else "
    "HOST:PORT,INDEX/COUNT with an address of process 0.",
)
_MODES_OF_FLAGS = {
    "checkpoint": _MODES_OF_RUNS,
    "distributed": ("train", "eval"),
    "input": ("predict", "consensus"),
    "list": ("eval", "sweep"),
    "output": ("predict", "consensus", "export", "report"),
    "save": ("predict",),
    "overwrite": ("predict",),
    "pair": ("consensus",),
    "shard": ("sweep",),
    "set": ("sweep",),
    "workdirs": ("report",),
}

BAD_INPUT = 2


def fail(message: object, exit_code: int = BAD_INPUT) -> NoReturn:
    """Ends the program with a message; in several processes all of them."""
    print(f"error: {processes.announce(message, exit_code)}", file=sys.stderr, flush=True)
    processes.leave(exit_code)


def parse(argv: list[str]) -> list[str]:
    """Parses the command line; what cannot be read or does not go together ends the program."""
    try:
        rest = _read_flags(argv)
        if CONFIG.value is not None:
            # ml_collections keeps quiet about a file that it cannot read until a field is wanted.
            _check_config("runs" in CONFIG.value, _given(argv, "config"))
        elif MODE.value in _MODES_OF_RUNS:
            fail(f"--mode={MODE.value} needs --workdir=DIR, the folder of a run.")
        elif MODE.value not in _MODES_WITHOUT_CONFIG:
            example = {"check": "folder", "sweep": "sweeps/components"}.get(MODE.value, "demo")
            fail(f"--config is missing; for instance --config=configs/{example}.py.")
    except flags.Error as error:
        fail(_in_plain_words(str(error), _given(argv, "config")))
    except ConfigError as error:
        fail(error)
    except Exception as error:  # Whatever the user's own file raises.
        fail(_unknown_field(argv) or config_file.fault(_given(argv, "config"), error))
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}; flags are written --name=value.")
    for flag, modes in _MODES_OF_FLAGS.items():
        if flags.FLAGS[flag].present and MODE.value not in modes:
            fail(f"--{flag} belongs to --mode={' or '.join(modes)}, not to --mode={MODE.value}.")
    return rest


def _read_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(_with_recorded_config(_with_found_config(argv)))
    except SystemExit:  # After --help, which is no fault but ends with 1 in absl.
        sys.exit(0)


def _check_config(is_sweep: bool, given: str) -> None:
    wanted = MODE.value == "sweep"
    if is_sweep == wanted:
        if not is_sweep:
            config_file.check_fields(CONFIG.value, f"--config={given}")
            _split_names(CONFIG.value)
    else:
        file = config_flags.get_config_filename(flags.FLAGS["config"])
        hint = "one run; lists are in configs/sweeps" if wanted else "a list; use --mode=sweep"
        fail(f"--mode={MODE.value} --config={file}: that file is {hint}.")


def _given(argv: list[str], flag: str) -> str:
    """The value of a flag as it was typed, '' where it was not."""
    for position, argument in enumerate(argv):
        name, separator, value = argument.partition("=")
        if name in (f"-{flag}", f"--{flag}"):
            return value if separator else "".join(argv[position + 1 : position + 2])
    return ""


def _split_names(config) -> None:
    """`--config.data.class_names=sky,road` is one name to ml_collections, 1,2 are numbers."""
    names = tuple(map(str, config.data.class_names))
    if len(names) == 1:
        names = tuple(name.strip() for name in names[0].split(","))
    config.data.class_names = names


def _in_plain_words(message: str, config: str) -> str:
    """What absl says of a flag, in one line and with a hint where a field was meant."""
    if "Traceback" in message:
        return config_file.fault_of_traceback(config, message)
    unknown = re.fullmatch(r"Unknown command line flag '([\w.]+)'", message)
    if unknown is None:
        return fields.in_plain_words(message)
    field = unknown[1]
    meant = [field] if field in fields.known() else fields.nearest(field)
    hint = " or ".join(f"--config.{each}" for each in meant)
    return f"--{field}: there is no such flag; " + (
        f"did you mean {hint}?" if hint else "see --help."
    )


def _with_found_config(argv: list[str]) -> list[str]:
    """Puts the path of its file in place of the name of a configuration."""
    found = list(argv)
    for position, argument in enumerate(argv):
        name, separator, value = argument.partition("=")
        if name not in ("-config", "--config"):
            continue
        if separator:
            found[position] = f"{name}={shipped.find(value)}"
        elif position + 1 < len(argv):
            found[position + 1] = shipped.find(argv[position + 1])
    return found


def _with_recorded_config(argv: list[str]) -> list[str]:
    """Adds --config=configs/recorded.py:WORKDIR where a workdir alone is named and needed."""
    if any(argument.partition("=")[0] in ("-config", "--config") for argument in argv):
        return argv
    flags.FLAGS(argv, known_only=True)
    if MODE.value not in _MODES_OF_RUNS or not WORKDIR.value:
        return argv
    return [argv[0], f"--config={shipped.CONFIGS / 'recorded.py'}:{WORKDIR.value}", *argv[1:]]


def _unknown_field(argv: list[str]) -> str | None:
    """Message on the first --config.FIELD that no configuration has, with the nearest one."""
    for argument in argv:
        flag = argument.partition("=")[0]
        if flag.lstrip("-").startswith("config."):
            message = fields.unknown(flag, flag.partition("config.")[2])
            if message is not None:
                return message
    return None


def run_folder() -> str:
    """The folder of the run, of the sweep, or of the runs to put into a table."""
    if WORKDIR.value:
        return WORKDIR.value
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    return str(pathlib.Path("runs") / folder.run_name(file))
