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
import os
import pathlib
import sys
import traceback
from typing import NoReturn

try:
    from absl import app, flags, logging

    from input_pipeline.errors import DataError, WorkerError
    from rcc_jax import command_line as cli
    from rcc_jax import processes, workdir
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


def _sweep() -> None:
    from rcc_jax import sweep  # without JAX, which would hold the devices of the runs

    runs = sweep.plan(cli.CONFIG.value.runs, cli.run_folder(), cli.SHARD.value)
    sweep.check_overrides(cli.SET.value)
    failed = sweep.run_all(
        runs, cli.SET.value, report=lambda line: print(line, flush=True), images=cli.LIST.value
    )
    if failed:
        names = ", ".join(run.workdir.name for run in failed)
        cli.fail(f"{len(failed)} of {len(runs)} runs failed: {names}", exit_code=1)


def _fill(*, may_guess: bool = False, faults: list[str] | None = None) -> None:
    """Sets what the configuration leaves to the data.

    Args:
      may_guess: whether the data may be read for that.
      faults: takes why masks do not tell their classes, for a check; None = that is raised.
    """
    from rcc_jax import data_guess, field_checks  # without JAX

    def report(line: str) -> None:
        if processes.is_first():
            print(line, flush=True)

    if may_guess:  # What needs no data comes before what reads them.
        workdir.check_place(cli.run_folder())
        field_checks.check(cli.CONFIG.value, left=data_guess.unset(cli.CONFIG.value))
        if workdir.recorded_fields(cli.run_folder()) is None:
            try:
                field_checks.check_start(cli.CONFIG.value)
            except ConfigError as error:
                if faults is None:
                    raise
                # Data can be looked at before the weights are there.
                report(f"note: the training will not start: {error}")
    data_guess.fill(
        cli.CONFIG.value,
        cli.run_folder(),
        may_guess=may_guess,
        report=report,
        note=None if faults is None else faults.append,
    )


def _check() -> None:
    from rcc_jax import data_check  # without JAX

    try:
        faults = []
        _fill(may_guess=True, faults=faults)
        works = data_check.check(cli.CONFIG.value, cli.run_folder(), faults)
    except KeyboardInterrupt:
        cli.fail("interrupted; nothing was written.", exit_code=130)
    if not works:
        cli.fail("these data or settings cannot be trained on; every reason is named above.")


def _table() -> None:
    from rcc_jax import tables

    if not cli.WORKDIR.value:
        cli.fail("--mode=table needs --workdir=DIR, the folder of a sweep or of other runs.")
    print(tables.write(cli.WORKDIR.value, report=lambda line: print(line, file=sys.stderr)))


def _report() -> None:
    from rcc_jax import report  # without JAX

    folders = cli.WORKDIRS.value or ([cli.WORKDIR.value] if cli.WORKDIR.value else [])
    if not folders:
        cli.fail(
            "--mode=report needs --workdir=DIR, the folder of a run or of a sweep, or "
            "--workdirs=DIR,DIR of several."
        )
    if not cli.OUTPUT.value and len(folders) > 1:
        cli.fail("--mode=report of several folders needs --output=FILE.html.")
    output = cli.OUTPUT.value or str(pathlib.Path(folders[0]) / "report.html")
    count = report.write(folders, output, report=lambda line: print(line, file=sys.stderr))
    print(f"{count} run{'s' if count > 1 else ''}: {output}")


def _finished() -> bool:
    """Whether there is nothing left to train, found out without JAX; refuses another config."""
    folder = cli.run_folder()
    if not os.path.exists(os.path.join(folder, workdir.RESULT)):
        return False
    _fill()
    workdir.Workdir.open(folder, cli.CONFIG.value.to_dict(), read_only=True)
    print(f"{folder}: finished before", flush=True)
    return True


def _train_or_evaluate() -> None:
    if cli.MODE.value == "train" and _finished():
        return
    # Here and not above: worker processes import this file too, and need none of it.
    from rcc_jax import checkpoints, evaluation_run, finite, trainer
    from rcc_jax.run import set_up_jax

    set_up_jax(cli.CONFIG.value)
    processes.start(cli.DISTRIBUTED.value)
    _fill(may_guess=cli.MODE.value == "train")
    try:
        if cli.MODE.value == "train":
            trainer.train(cli.CONFIG.value, cli.run_folder())
        else:
            evaluation_run.evaluate(
                cli.CONFIG.value,
                cli.run_folder(),
                checkpoint=cli.CHECKPOINT.value,
                images=cli.LIST.value,
            )
    except (finite.NonFiniteError, WorkerError) as error:
        cli.fail(error, exit_code=1)
    except checkpoints.SaveError as error:
        _end_without_room(error)


def _predict() -> None:
    if not cli.INPUT.value or not cli.OUTPUT.value:
        cli.fail("--mode=predict needs --input=FILE|FOLDER|GLOB and --output=DIR.")
    from rcc_jax import prediction_run
    from rcc_jax.run import set_up_jax

    _fill()
    set_up_jax(cli.CONFIG.value)
    outcome = prediction_run.predict(
        cli.CONFIG.value,
        cli.run_folder(),
        images=cli.INPUT.value,
        output=cli.OUTPUT.value,
        checkpoint=cli.CHECKPOINT.value,
        save=cli.SAVE.value,
        overwrite=cli.OVERWRITE.value,
    )
    total = outcome.written + outcome.kept + len(outcome.failed)
    if outcome.failed:
        cli.fail(
            f"{len(outcome.failed)} of {total} images could not be read and have no prediction "
            "(listed above).",
            exit_code=1,
        )
    print(f"{outcome.written} images predicted, {outcome.kept} kept: {cli.OUTPUT.value}")


def _consensus() -> None:
    from rcc_jax import consensus_run
    from rcc_jax.run import set_up_jax

    _fill()
    set_up_jax(cli.CONFIG.value)
    _, failed = consensus_run.explain(
        cli.CONFIG.value,
        cli.run_folder(),
        checkpoint=cli.CHECKPOINT.value,
        images=cli.INPUT.value,
        output=cli.OUTPUT.value,
        pair=cli.PAIR.value,
    )
    if failed:
        cli.fail(f"{failed} images could not be read (listed above).", exit_code=1)


def _export() -> None:
    if not cli.OUTPUT.value:
        cli.fail("--mode=export needs --output=DIR.")
    from rcc_jax import export
    from rcc_jax.run import set_up_jax

    _fill()
    set_up_jax(cli.CONFIG.value)
    export.export(
        cli.CONFIG.value, cli.run_folder(), output=cli.OUTPUT.value, checkpoint=cli.CHECKPOINT.value
    )


def _is_news(record) -> bool:
    """Not advice on saving less often, nor the traceback of an error that is raised too."""
    library = record.name == "asyncio" or "/orbax/" in record.pathname
    is_error = record.levelname in ("ERROR", "CRITICAL")
    return not library or (is_error and not record.exc_info)


def _end_without_room(message: object) -> NoReturn:
    """Ends a run that cannot write; at once, or whatever else is still to be written fails too."""
    try:
        cli.fail(message, exit_code=1)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


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
        modes = {
            "check": _check,
            "sweep": _sweep,
            "table": _table,
            "report": _report,
            "predict": _predict,
            "consensus": _consensus,
            "export": _export,
        }
        modes.get(cli.MODE.value, _train_or_evaluate)()
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
        _end_without_room(f"{error.strerror}{file}. Make room; the same command goes on.")
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
