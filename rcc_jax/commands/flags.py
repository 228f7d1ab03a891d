"""The flags of the program, their valid combinations, and the errors for invalid ones."""

import os
import pathlib
import sys
from typing import NoReturn

import ml_collections
from absl import flags

from input_pipeline import near_names
from input_pipeline.partitions import pseudo_masks
from rcc_jax import shipped
from rcc_jax.config import fields
from rcc_jax.config import file as config_file
from rcc_jax.distributed import processes
from rcc_jax.errors import ConfigError
from rcc_jax.workdir import folder

_MODES = (
    "train", "eval", "check", "predict", "consensus", "export", "label", "sweep", "table",
    "report",
)  # fmt: skip
# Modes that need no --config: the folder of a run has its own configuration.
_MODES_OF_RUNS = ("eval", "predict", "consensus", "export", "label")
# Modes that read many runs and accept no --config.
_MODES_WITHOUT_CONFIG = ("table", "report")
# The configuration whose argument is the folder of a run.
_RECORDED = "recorded.py"
_CONFIG_FILE = flags.DEFINE_string(
    "config",
    None,
    "Configuration: FILE[:ARGUMENTS], or the name of a file in ./configs/ or of a shipped one; "
    "--config.group.field=value sets any field.",
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; the default is runs/<configuration and arguments>."
)
WORKDIRS = flags.DEFINE_list("workdirs", [], "report: folders of runs, instead of --workdir.")
MODE = flags.DEFINE_enum("mode", "train", _MODES, "What to do.")
CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    "latest",
    "eval, predict, consensus, export, label: 'latest', 'best', 'best:PROTOCOL' for the best of an "
    "earlier evaluation protocol, or the path of a checkpoint or a workdir.",
)
INPUT = flags.DEFINE_string(
    "input",
    "",
    "predict: an image, a folder or a glob; consensus: the same, instead of the validation images.",
)
OUTPUT = flags.DEFINE_string(
    "output", "", "predict, consensus, export, label: folder of the results; report: the page."
)
LIST = flags.DEFINE_string(
    "list",
    "",
    "eval: a list of `image label` lines that replaces data.val; sweep: a list on which the last "
    "checkpoint of every run is scored too.",
)
SAVE = flags.DEFINE_string(
    "save",
    "labels,overlays",
    "predict: what to write, of labels, overlays, confidence, probabilities.",
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "predict: overwrite existing predictions.")
PART = flags.DEFINE_enum(
    "part",
    "all",
    pseudo_masks.PARTS,
    "label: the unlabelled images to label: all, the half whose predictions are stable over the "
    "milestones of the run, or the other half.",
)
PAIR = flags.DEFINE_string("pair", "", "consensus: CLASS,CLASS, a pair to draw maps of.")
SHARD = flags.DEFINE_string("shard", "0/1", "sweep: INDEX/COUNT, every COUNT-th run from INDEX.")
SET = flags.DEFINE_multi_string(
    "set", [], "sweep: FIELD=VALUE for all runs, such as data.root=DIR; may be repeated."
)
DISTRIBUTED = flags.DEFINE_string(
    "distributed",
    "off",
    "train and eval on several hosts: 'auto' in a Slurm or Open MPI job or on a TPU pod, else "
    "HOST:PORT,INDEX/COUNT with an address of process 0.",
)
_MODES_OF_FLAGS = {
    "checkpoint": _MODES_OF_RUNS,
    "distributed": ("train", "eval"),
    "input": ("predict", "consensus"),
    "list": ("eval", "sweep"),
    "output": ("predict", "consensus", "export", "label", "report"),
    "part": ("label",),
    "save": ("predict",),
    "overwrite": ("predict",),
    "pair": ("consensus",),
    "shard": ("sweep",),
    "set": ("sweep",),
    "workdirs": ("report",),
}

# Fields with paths that do not begin at `data.root`.
_PATHS = (("model", "pretrained"), ("method", "second_pretrained"), ("data", "pseudo"))

BAD_INPUT = 2


class _Config:
    """The configuration of --config with the fields of the command line; set by `parse`.

    Attributes:
        value: The configuration; None without --config.
        file: The FILE[:ARGUMENTS] that it was loaded from.
        given: Fields that were set on the command line, dotted.
    """

    value: ml_collections.ConfigDict | None = None
    file: str = ""
    given: tuple[str, ...] = ()


CONFIG = _Config()


def fail(message: object, exit_code: int = BAD_INPUT) -> NoReturn:
    """Ends the program, and all other processes of the run, with a message."""
    print(f"error: {processes.announce(message, exit_code)}", file=sys.stderr, flush=True)
    processes.leave(exit_code)


def parse(argv: list[str]) -> list[str]:
    """Parses the command line; malformed or incompatible flags end the program."""
    try:
        argv, overrides = _split_overrides(flags.FLAGS.read_flags_from_files(argv, force_gnu=False))
        rest = _read_flags(argv)
        if len(rest) > 1:
            fail(f"unexpected argument {rest[1]!r}; flags are written --name=value.")
        _complete_paths()
        given = _CONFIG_FILE.value or _recorded_config()
        if MODE.value in _MODES_WITHOUT_CONFIG and (given or overrides):
            fail(f"--mode={MODE.value} reads finished runs and takes no --config.")
        if given:
            _load_config(given, overrides)
        elif MODE.value in _MODES_OF_RUNS:
            fail(f"--mode={MODE.value} needs --workdir=DIR, the folder of a run.")
        elif MODE.value not in _MODES_WITHOUT_CONFIG:
            example = {"check": "folder", "sweep": "sweeps/components"}.get(MODE.value, "demo")
            fail(f"--config is missing; set it, for example --config=configs/{example}.py.")
    except flags.UnrecognizedFlagError as error:
        fail(_no_such_flag(error.flagname))
    except (flags.Error, ConfigError) as error:
        fail(error)
    for flag, modes in _MODES_OF_FLAGS.items():
        if flags.FLAGS[flag].present and MODE.value not in modes:
            fail(f"--{flag} belongs to --mode={' or '.join(modes)}, not to --mode={MODE.value}.")
    return rest


def _read_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except SystemExit:  # After --help, absl exits with 1, although that is no error.
        sys.exit(0)


def _split_overrides(argv: list[str]) -> tuple[list[str], dict[str, list[str | None]]]:
    """Takes --config.FIELD=VALUE and --config.FIELD [VALUE] out of the arguments.

    Returns:
        The other arguments, and the typed values of each field; None stands for no value.
    """
    rest, overrides = [], {}
    left = iter(range(len(argv)))
    for position in left:
        argument = argv[position]
        if argument == "--":
            rest += argv[position:]
            break
        name, separator, text = argument.partition("=")
        name = name.removeprefix("-").removeprefix("-") if name.startswith("-") else ""
        if name.startswith("noconfig."):
            text = "false"
        elif not name.startswith("config."):
            rest.append(argument)
            continue
        elif not separator:
            following = argv[position + 1] if position + 1 < len(argv) else "--"
            text = None if following.startswith("--") else argv[next(left)]
        overrides.setdefault(name.partition("config.")[2], []).append(text)
    return rest, overrides


def _complete_paths() -> None:
    """Replaces '~' in the flags that name files, and joins folders whose names have commas."""
    for flag in (WORKDIR, OUTPUT, CHECKPOINT, LIST):
        if flag.value:
            flags.FLAGS[flag.name].value = os.path.expanduser(flag.value)
    flags.FLAGS[WORKDIRS.name].value = _folders(WORKDIRS.value)


def _folders(pieces: list[str]) -> list[str]:
    """The folders of a list that was split at commas, which names of runs have too."""
    found = []
    while pieces:
        names = {
            end: os.path.expanduser(",".join(pieces[:end])) for end in range(len(pieces), 0, -1)
        }
        end = next((end for end, name in names.items() if os.path.isdir(name)), 1)
        found.append(names[end])
        pieces = pieces[end:]
    return found


def _recorded_config() -> str:
    """The recorded configuration, for a mode that needs only --workdir."""
    if MODE.value not in _MODES_OF_RUNS or not WORKDIR.value:
        return ""
    return f"{shipped.CONFIGS / _RECORDED}:{WORKDIR.value}"


def _load_config(given: str, overrides: dict[str, list[str | None]]) -> None:
    config, CONFIG.file = config_file.load(given), shipped.find(given)
    is_sweep, wanted = "runs" in config, MODE.value == "sweep"
    if is_sweep != wanted:
        hint = "one run; lists are in configs/sweeps" if wanted else "a list; use --mode=sweep"
        raise ConfigError(f"--mode={MODE.value} --config={CONFIG.file}: that file is {hint}.")
    if not is_sweep:
        config_file.check_fields(config, f"--config={given}")
    for field, texts in overrides.items():
        option = f"--config.{field}"
        if (message := fields.unknown(option, field)) is not None:
            raise ConfigError(message)
        if is_sweep:
            raise ConfigError(
                f"{option}: the file lists runs; use --set={field}=VALUE to set it in each."
            )
        fields.override(config, field, texts, option)
    if not is_sweep:
        for group, name in _PATHS:
            if value := config[group][name]:
                config[group][name] = os.path.expanduser(value)
        # Class names in a tuple may have been parsed as numbers.
        config.data.class_names = tuple(map(str, config.data.class_names))
    CONFIG.value, CONFIG.given = config, tuple(overrides)


def _no_such_flag(name: str) -> str:
    known = fields.known()
    own = [flag.name for flag in flags.FLAGS.get_key_flags_for_module(__name__)]
    is_field = name in known or any(each.endswith(f".{name}") for each in known)
    if not is_field and (near := near_names.nearest(name, own)) is not None:
        hint = f"--{near}"
    else:
        meant = [name] if name in known else fields.nearest(name)
        hint = " or ".join(f"--config.{each}" for each in meant)
    return f"--{name}: there is no such flag; " + (
        f"did you mean {hint}?" if hint else "see --help."
    )


def run_folder() -> str:
    """The folder of the run, of the sweep, or of the runs for a table."""
    if WORKDIR.value:
        return WORKDIR.value
    file, _, argument = CONFIG.file.partition(":")
    if pathlib.Path(file).name == _RECORDED and argument:
        return argument
    return str(pathlib.Path("runs") / folder.run_name(CONFIG.file))
