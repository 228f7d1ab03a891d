"""Command line of rcc_jax.

Training; any field of configs/common.py is --config.group.field=value:
python main.py --config=configs/demo.py
python main.py --config=configs/camvid.py:1_8,method=rcc --workdir=DIR --config.seed=1
python main.py --mode=check --config=configs/folder.py --config.data.root=DIR

With a run:
python main.py --mode=eval --workdir=DIR --checkpoint=best
python main.py --mode=predict --workdir=DIR --input=FILE|FOLDER|GLOB --output=DIR
python main.py --mode=consensus --workdir=DIR --pair=CLASS,CLASS
python main.py --mode=export --workdir=DIR --checkpoint=best --output=DIR

Many runs:
python main.py --mode=sweep --config=configs/sweeps/components.py --shard=0/4
python main.py --mode=table --workdir=DIR
python main.py --mode=report --workdirs=DIR,DIR --output=FILE.html
python main.py --distributed=node1:9870,0/2 ...     # and 1/2 elsewhere; in a Slurm job: auto
"""

import difflib
import errno
import pathlib
import sys
import traceback

from absl import app, flags, logging
from ml_collections import config_flags

from configs import common
from input_pipeline.errors import DataError, WorkerError
from rcc_jax import processes, workdir
from rcc_jax.errors import ConfigError

_MODES = (
    "train", "eval", "check", "predict", "consensus", "export", "sweep", "table", "report",
)  # fmt: skip
# Modes that need no --config, as the folder of a run knows its own.
_MODES_OF_RUNS = ("eval", "predict", "consensus", "export")
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration: FILE[:ARGUMENTS]; any field is --config.group.field=value."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; by default runs/<configuration and arguments>."
)
_WORKDIRS = flags.DEFINE_list("workdirs", [], "report: folders of runs, instead of --workdir.")
_MODE = flags.DEFINE_enum("mode", "train", _MODES, "What to do.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    "latest",
    "eval, predict, consensus, export: 'latest', 'best', or the path of a checkpoint or a workdir.",
)
_INPUT = flags.DEFINE_string(
    "input", "", "predict: an image, a folder or a glob; consensus: instead of the validation set."
)
_OUTPUT = flags.DEFINE_string(
    "output", "", "predict, consensus, export: folder of the results; report: the page."
)
_SAVE = flags.DEFINE_string(
    "save", "labels,overlays", "predict: also 'confidence' and 'probabilities'."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "predict: write anew what is there.")
_PAIR = flags.DEFINE_string("pair", "", "consensus: CLASS,CLASS to draw maps of.")
_SHARD = flags.DEFINE_string("shard", "0/1", "sweep: INDEX/COUNT, every COUNT-th run from INDEX.")
_SET = flags.DEFINE_multi_string(
    "set", [], "sweep: FIELD=VALUE for every run, such as data.root=DIR; may be repeated."
)
_DISTRIBUTED = flags.DEFINE_string(
    "distributed",
    "off",
    "train and eval, on several hosts: 'auto' in a Slurm job (Open MPI and TPU pods too), else "
    "HOST:PORT,INDEX/COUNT with an address of process 0.",
)
_MODES_OF_FLAGS = {
    "distributed": ("train", "eval"),
    "input": ("predict", "consensus"),
    "output": ("predict", "consensus", "export", "report"),
    "save": ("predict",),
    "overwrite": ("predict",),
    "pair": ("consensus",),
    "shard": ("sweep",),
    "set": ("sweep",),
    "workdirs": ("report",),
}

BAD_INPUT = 2
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _fail(message: object, exit_code: int = BAD_INPUT) -> None:
    print(f"error: {processes.announce(message, exit_code)}", file=sys.stderr, flush=True)
    processes.leave(exit_code)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(_with_recorded_config(argv))
        if _CONFIG.value is None and _MODE.value in ("table", "report"):
            return rest
        if _CONFIG.value is None:
            _fail("--config is missing; for instance --config=configs/demo.py.")
        # ml_collections keeps quiet about a file that it cannot read until a field is wanted.
        _check_mode("runs" in _CONFIG.value)
    except OSError:
        given = [argument for argument in argv if argument.lstrip("-").startswith("config=")]
        _fail(f"{given[0] if given else '--config'}: no such file; one is configs/demo.py.")
    except (AttributeError, KeyError) as error:
        _fail(_unknown_field(argv) or error)
    except (flags.Error, ConfigError, SyntaxError, TypeError, ValueError) as error:
        _fail(error)
    if len(rest) > 1:
        _fail(f"unexpected argument {rest[1]!r}; flags are written --name=value.")
    return rest


def _check_mode(is_sweep: bool) -> None:
    wanted = _MODE.value == "sweep"
    for flag, modes in _MODES_OF_FLAGS.items():
        if flags.FLAGS[flag].present and _MODE.value not in modes:
            _fail(f"--{flag} belongs to --mode={' or '.join(modes)}, not to --mode={_MODE.value}.")
    if is_sweep != wanted:
        file = config_flags.get_config_filename(flags.FLAGS["config"])
        hint = "one run; lists are in configs/sweeps" if wanted else "a list; use --mode=sweep"
        _fail(f"--mode={_MODE.value} --config={file}: that file is {hint}.")


def _with_recorded_config(argv: list[str]) -> list[str]:
    """Adds --config=configs/recorded.py:WORKDIR where a workdir alone is named and needed."""
    if any(argument.partition("=")[0] in ("-config", "--config") for argument in argv):
        return argv
    flags.FLAGS(argv, known_only=True)
    if _MODE.value not in _MODES_OF_RUNS or not _WORKDIR.value:
        return argv
    recorded = pathlib.Path(common.__file__).with_name("recorded.py")
    return [argv[0], f"--config={recorded}:{_WORKDIR.value}", *argv[1:]]


def _unknown_field(argv: list[str]) -> str | None:
    """Message on the first --config.FIELD that no configuration has, with the nearest one."""
    known = [
        f"{group}.{name}"
        for group, fields in common.get_config().to_dict().items()
        for name in (fields if isinstance(fields, dict) else ())
    ] + list(common.get_config())
    for argument in argv:
        flag = argument.partition("=")[0]
        field = flag.partition("config.")[2]
        if flag.lstrip("-").startswith("config.") and field not in known:
            same_name = [name for name in known if name.split(".")[-1] == field.split(".")[-1]]
            close = same_name or difflib.get_close_matches(field, known, n=1)
            hint = " or ".join(f"--config.{name}" for name in close)
            hint = f"did you mean {hint}?" if close else "see configs/common.py."
            return f"{flag}: there is no such field; {hint}"
    return None


def _workdir() -> str:
    """The folder of the run, of the sweep, or of the runs to put into a table."""
    if _WORKDIR.value:
        return _WORKDIR.value
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    return str(pathlib.Path("runs") / workdir.run_name(file))


def _sweep() -> None:
    from rcc_jax import sweep  # without JAX, which would hold the devices of the runs

    runs = sweep.plan(_CONFIG.value.runs, _workdir(), _SHARD.value)
    failed = sweep.run_all(runs, _SET.value, report=lambda line: print(line, flush=True))
    if failed:
        names = ", ".join(run.workdir.name for run in failed)
        _fail(f"{len(failed)} of {len(runs)} runs failed: {names}", exit_code=1)


def _check() -> None:
    from rcc_jax import data_check  # without JAX

    try:
        works = data_check.check(_CONFIG.value, _workdir())
    except KeyboardInterrupt:
        _fail("interrupted; nothing was written.", exit_code=130)
    if not works:
        _fail("these data or settings cannot be trained on; every reason is named above.")


def _table() -> None:
    from rcc_jax import tables

    if not _WORKDIR.value:
        _fail("--mode=table needs --workdir=DIR, the folder of a sweep or of other runs.")
    print(tables.write(_WORKDIR.value, report=lambda line: print(line, file=sys.stderr)))


def _report() -> None:
    from rcc_jax import report  # without JAX

    folders = _WORKDIRS.value or ([_WORKDIR.value] if _WORKDIR.value else [])
    if not folders:
        _fail("--mode=report needs --workdirs=DIR,DIR, folders of runs or of sweeps.")
    if not _OUTPUT.value and len(folders) > 1:
        _fail("--mode=report of several folders needs --output=FILE.html.")
    output = _OUTPUT.value or str(pathlib.Path(folders[0]) / "report.html")
    count = report.write(folders, output, report=lambda line: print(line, file=sys.stderr))
    print(f"{count} runs: {output}")


def _finished() -> bool:
    """Whether there is nothing left to train, found out without JAX; refuses another config."""
    folder = _workdir()
    if not pathlib.Path(folder, workdir.RESULT).exists():
        return False
    workdir.Workdir.open(folder, _CONFIG.value.to_dict(), read_only=True)
    print(f"{folder}: finished before", flush=True)
    return True


def _train_or_evaluate() -> None:
    if _MODE.value == "train" and _finished():
        return
    # Here and not above: worker processes import this file too, and need none of it.
    from rcc_jax import checkpoints, evaluation_run, trainer
    from rcc_jax.run import set_up_jax

    set_up_jax(_CONFIG.value)
    processes.start(_DISTRIBUTED.value)
    try:
        if _MODE.value == "train":
            trainer.train(_CONFIG.value, _workdir())
        else:
            evaluation_run.evaluate(_CONFIG.value, _workdir(), checkpoint=_CHECKPOINT.value)
    except (trainer.NonFiniteError, checkpoints.SaveError, WorkerError) as error:
        _fail(error, exit_code=1)


def _predict() -> None:
    if not _INPUT.value or not _OUTPUT.value:
        _fail("--mode=predict needs --input=FILE|FOLDER|GLOB and --output=DIR.")
    from rcc_jax import prediction_run
    from rcc_jax.run import set_up_jax

    set_up_jax(_CONFIG.value)
    outcome = prediction_run.predict(
        _CONFIG.value,
        _workdir(),
        images=_INPUT.value,
        output=_OUTPUT.value,
        checkpoint=_CHECKPOINT.value,
        save=_SAVE.value,
        overwrite=_OVERWRITE.value,
    )
    total = outcome.written + outcome.kept + len(outcome.failed)
    if outcome.failed:
        _fail(
            f"{len(outcome.failed)} of {total} images could not be read and have no prediction "
            "(listed above).",
            exit_code=1,
        )
    print(f"{outcome.written} images predicted, {outcome.kept} kept: {_OUTPUT.value}")


def _consensus() -> None:
    from rcc_jax import consensus_run
    from rcc_jax.run import set_up_jax

    set_up_jax(_CONFIG.value)
    _, failed = consensus_run.explain(
        _CONFIG.value,
        _workdir(),
        checkpoint=_CHECKPOINT.value,
        images=_INPUT.value,
        output=_OUTPUT.value,
        pair=_PAIR.value,
    )
    if failed:
        _fail(f"{failed} images could not be read (listed above).", exit_code=1)


def _export() -> None:
    if not _OUTPUT.value:
        _fail("--mode=export needs --output=DIR.")
    from rcc_jax import export
    from rcc_jax.run import set_up_jax

    set_up_jax(_CONFIG.value)
    export.export(_CONFIG.value, _workdir(), output=_OUTPUT.value, checkpoint=_CHECKPOINT.value)


def _is_news(record) -> bool:
    """Not advice on saving less often, nor the traceback of an error that is raised too."""
    library = record.name == "asyncio" or "/orbax/" in record.pathname
    is_error = record.levelname in ("ERROR", "CRITICAL")
    return not library or (is_error and not record.exc_info)


def main(_) -> None:
    from rcc_jax.interruption import Interrupted

    # absl's default lets every library report each step of its work.
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().addFilter(_is_news)
    try:
        modes = {
            "check": _check,
            "sweep": _sweep,
            "table": _table,
            "report": _report,
            "predict": _predict,
            "consensus": _consensus,
            "export": _export,
        }
        modes.get(_MODE.value, _train_or_evaluate)()
    except (ConfigError, DataError) as error:
        _fail(error)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        file = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror}{file}. Make room; the same command goes on.", exit_code=1)
    except Interrupted as stop:
        if processes.is_first():
            print(stop, file=sys.stderr, flush=True)
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on after what is done.", exit_code=130)
    except Exception as error:
        if processes.count() == 1:
            raise
        lost = processes.lost_connection(error)
        if not lost:
            traceback.print_exc()
        _fail(lost or f"{type(error).__name__}: {error}", exit_code=1)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse_flags)
