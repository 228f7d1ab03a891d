"""The program behind `python main.py` and `python -m rcc_jax`: start-up, errors, exit codes."""

import io
import sys
import traceback

from absl import app, flags, logging

from input_pipeline import files
from input_pipeline.errors import DataError
from rcc_jax import shipped
from rcc_jax.commands import flags as cli
from rcc_jax.commands import modes
from rcc_jax.distributed import processes
from rcc_jax.errors import ConfigError, is_out_of_memory

_USAGE = """Command line of rcc_jax.

Training; --config.group.field=value sets any field of docs/fields.md:
{program} --config=configs/demo.py
{program} --config=configs/camvid.py:1_8,method=rcc --workdir=DIR --config.seed=1

Your own images; the first command only reads them and reports what is wrong:
{program} --mode=check --config=configs/folder.py --config.data.root=DIR
{program} --config=configs/folder.py --config.data.root=DIR

With a run:
{program} --mode=eval --workdir=DIR --checkpoint=best
{program} --mode=predict --workdir=DIR --input=FILE|FOLDER|GLOB --output=DIR
{program} --mode=consensus --workdir=DIR --pair=CLASS,CLASS
{program} --mode=export --workdir=DIR --checkpoint=best --output=DIR
{program} --mode=label --workdir=DIR --output=DIR       # pseudo masks of its unlabelled images

Many runs:
{program} --mode=sweep --config=configs/sweeps/components.py --shard=0/4
{program} --mode=table --workdir=DIR
{program} --mode=report --workdirs=DIR,DIR --output=FILE.html
{program} --distributed=node1:9870,0/2 ...     # and 1/2 elsewhere; in a Slurm job: auto

--config is a file, or the name of one in ./configs/ or of a shipped one: --config=folder.
"""
_FIRST_COMMANDS = """No command was given. Three commands to begin with:

check your own images and masks:
  {program} --mode=check --config=configs/folder.py --config.data.root=DIR

train on them:
  {program} --config=configs/folder.py --config.data.root=DIR

try it on drawn scenes, without any data, in some minutes on a CPU:
  {program} --config=configs/demo.py

All others: {program} --help
"""
_OUT_OF_MEMORY = (
    "the memory of a device is full. In training, use a smaller --config.train.batch_size or "
    "--config.data.crop_size, --config.train.accumulation=2 or, on a GPU or TPU, "
    "--config.model.remat=true; in evaluation --config.eval.batch_size=1, or "
    "--config.eval.mode=sliding with a smaller --config.eval.window. Checkpoints are kept."
)


def run() -> None:
    """Runs the program with the arguments of this process and exits."""
    for stream in (sys.stdout, sys.stderr):
        # Names of files may hold bytes that the terminal's encoding lacks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if len(sys.argv) == 1:
        # An error: a script may have lost its arguments.
        print(_fill_in(_FIRST_COMMANDS), end="", file=sys.stderr)
        sys.exit(cli.BAD_INPUT)
    # --help shows the docstring of __main__ and the key flags of the main module.
    sys.modules["__main__"].__doc__ = _fill_in(_USAGE)
    for flag in flags.FLAGS.get_key_flags_for_module(cli.__name__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    shipped.offer_configs()
    app.run(main, flags_parser=cli.parse)


def _fill_in(text: str) -> str:
    return text.format(program=shipped.command_as_typed())


def _is_news(record) -> bool:
    """False for orbax's advice on saving, and for logged errors that are raised as well."""
    library = record.name == "asyncio" or "/orbax/" in record.pathname
    is_error = record.levelname in ("ERROR", "CRITICAL")
    return not library or (is_error and not record.exc_info)


def _print_unraisable(unraisable) -> None:
    # After a failed save, tensorstore notifies a closed event loop once per file.
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def main(_) -> None:
    """Runs the chosen mode; a fault of the input ends it with one line and an exit code."""
    from rcc_jax.distributed.interruption import Interrupted

    # With absl's default level, libraries log every detail of their work.
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().addFilter(_is_news)
    sys.unraisablehook = _print_unraisable
    try:
        modes.RUN[cli.MODE.value]()
    except (ConfigError, DataError) as error:
        cli.fail(error)
    except OSError as error:
        if error.errno in files.NOT_ALLOWED:
            cli.fail(
                f"{error.filename}: {error.strerror}. Change its permissions or use another path."
            )
        if error.errno not in files.NO_SPACE:
            raise
        file = f" ({error.filename})" if error.filename else ""
        modes.end_without_room(
            f"{error.strerror}{file}. Free some space; the same command resumes."
        )
    except Interrupted as stop:
        if processes.is_first():
            print(stop, file=sys.stderr, flush=True)
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        cli.fail("interrupted; the same command resumes from there.", exit_code=130)
    except Exception as error:
        if is_out_of_memory(error):
            cli.fail(_OUT_OF_MEMORY, exit_code=1)
        if processes.count() == 1:
            raise
        lost = processes.lost_process(error)
        if not lost:
            traceback.print_exc()
        cli.fail(lost or f"{type(error).__name__}: {error}", exit_code=1)
