"""Command line of rcc_jax.

Training; any field of configs/common.py is --config.group.field=value:
python main.py --config=configs/demo.py
python main.py --config=configs/camvid.py:1_8,method=rcc --workdir=DIR --config.seed=1

Your own images; the first only reads them, and says what is wrong with them:
python main.py --mode=check --config=configs/folder.py --config.data.root=DIR
python main.py --config=configs/folder.py --config.data.root=DIR

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

import errno
import sys
import traceback

try:
    from absl import app, flags, logging

    from input_pipeline.errors import DataError
    from rcc_jax import command_line as cli
    from rcc_jax import modes, processes
    from rcc_jax.errors import ConfigError
except ModuleNotFoundError as error:
    sys.exit(
        f"error: {sys.executable} lacks the package {error.name}. In the project's folder run "
        "`make setup` once and then `.venv/python3/bin/python main.py ...`, or install with "
        "`pip install -r requirements.txt`."
    )

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
# So that --help shows them.
flags.adopt_module_key_flags(cli)


def _is_news(record) -> bool:
    """Not advice on saving less often, nor the traceback of an error that is raised too."""
    library = record.name == "asyncio" or "/orbax/" in record.pathname
    is_error = record.levelname in ("ERROR", "CRITICAL")
    return not library or (is_error and not record.exc_info)


def _print_unraisable(unraisable) -> None:
    # After a save that failed tensorstore tells an event loop that is gone, once for each file.
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def main(_) -> None:
    from rcc_jax.interruption import Interrupted

    # absl's default lets every library report each step of its work.
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().addFilter(_is_news)
    sys.unraisablehook = _print_unraisable
    try:
        modes.RUN[cli.MODE.value]()
    except (ConfigError, DataError) as error:
        cli.fail(error)
    except OSError as error:
        if error.errno in _NOT_ALLOWED:
            cli.fail(
                f"{error.filename}: {error.strerror}. Change its permissions, or name another."
            )
        if error.errno not in _NO_ROOM:
            raise
        file = f" ({error.filename})" if error.filename else ""
        modes.end_without_room(f"{error.strerror}{file}. Make room; the same command goes on.")
    except Interrupted as stop:
        if processes.is_first():
            print(stop, file=sys.stderr, flush=True)
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        cli.fail("interrupted; the same command goes on after what is done.", exit_code=130)
    except Exception as error:
        if processes.count() == 1:
            raise
        lost = processes.lost_connection(error)
        if not lost:
            traceback.print_exc()
        cli.fail(lost or f"{type(error).__name__}: {error}", exit_code=1)


if __name__ == "__main__":
    app.run(main, flags_parser=cli.parse)
