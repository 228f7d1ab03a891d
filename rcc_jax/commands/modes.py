"""The function of each `--mode`. Each imports only what it needs, and JAX only if it must."""

import os
import pathlib
import sys
from typing import NoReturn

import ml_collections

from input_pipeline.errors import DataError, WorkerError
from rcc_jax.commands import flags as cli
from rcc_jax.config import method_group
from rcc_jax.distributed import processes
from rcc_jax.errors import ConfigError
from rcc_jax.workdir import folder as workdir


def _sweep() -> None:
    from rcc_jax.commands import sweep  # without JAX, which would hold the devices of the runs

    runs = sweep.plan(cli.CONFIG.value.runs, cli.run_folder(), cli.SHARD.value)
    sweep.check_overrides(cli.SET.value)
    failed = sweep.run_all(
        runs, cli.SET.value, log=lambda line: print(line, flush=True), images=cli.LIST.value
    )
    if failed:
        names = ", ".join(run.workdir.name for run in failed)
        cli.fail(f"{len(failed)} of {len(runs)} runs failed: {names}", exit_code=1)


def _resolve_auto(*, may_guess: bool = False, faults: list[str] | None = None) -> None:
    """Sets the fields that are left to be guessed from the data.

    Args:
        may_guess: Whether the data may be read for that.
        faults: For --mode=check: a list that collects why the masks do not tell the classes; the
            check itself reports other invalid settings. None: Both are raised.
    """
    from rcc_jax.config import checks, guess, recorded  # without JAX

    def log(line: str) -> None:
        if processes.is_first():
            print(line, flush=True)

    config, folder = cli.CONFIG.value, cli.run_folder()
    wrong = []
    checks.check_given(config, cli.CONFIG.given)
    if may_guess:  # Checks that need no data come first.
        workdir.check_place(folder)
        wrong = list(checks.faults(config, left=guess.unset(config)))
        if wrong and faults is None:
            raise ConfigError("\n".join(wrong))
        if recorded.recorded_fields(folder) is None:
            try:
                checks.check_start(config)
            except ConfigError as error:
                if faults is None:
                    raise
                # The data can be checked before the weights are there.
                log(f"warning: the training will not start: {error}")
    note = None if faults is None else faults.append
    try:
        guess.resolve_auto(config, folder, may_guess=may_guess, log=log, note=note)
    except (ConfigError, DataError) as error:
        # The data cannot be checked, so report the faults of the settings too.
        raise type(error)("\n".join((*wrong, str(error)))) from None
    # Again, since the method may have been guessed.
    checks.check_given(config, cli.CONFIG.given)
    for line in checks.idle(config, cli.CONFIG.given):
        log(f"note: {line}")


def _check() -> None:
    from rcc_jax.commands import check  # without JAX

    try:
        faults = []
        _resolve_auto(may_guess=True, faults=faults)
        works = check.check(cli.CONFIG.value, cli.run_folder(), faults)
    except KeyboardInterrupt:
        cli.fail("interrupted; nothing was written.", exit_code=130)
    if not works:
        cli.fail("these data or settings cannot be used for training; see the reasons above.")


def _table() -> None:
    from rcc_jax.reporting import tables

    if not cli.WORKDIR.value:
        cli.fail("--mode=table needs --workdir=DIR, the folder of a sweep or of other runs.")
    print(tables.write(cli.WORKDIR.value, log=lambda line: print(line, file=sys.stderr)))


def _report() -> None:
    from rcc_jax.reporting import report  # without JAX

    if cli.WORKDIRS.value and cli.WORKDIR.value:
        cli.fail("--mode=report takes --workdir or --workdirs, not both.")
    folders = cli.WORKDIRS.value or ([cli.WORKDIR.value] if cli.WORKDIR.value else [])
    if not folders:
        cli.fail(
            "--mode=report needs --workdir=DIR, the folder of a run or of a sweep, or "
            "--workdirs=DIR,DIR of several."
        )
    if not cli.OUTPUT.value and len(folders) > 1:
        cli.fail("--mode=report of several folders needs --output=FILE.html.")
    output = cli.OUTPUT.value or str(pathlib.Path(folders[0]) / "report.html")
    count = report.write(folders, output, log=lambda line: print(line, file=sys.stderr))
    print(f"{count} run{'s' if count > 1 else ''}: {output}")


def _finished() -> bool:
    """Whether training is complete, checked without JAX; rejects another configuration."""
    folder = cli.run_folder()
    if not os.path.exists(os.path.join(folder, workdir.RESULT)):
        return False
    _resolve_auto()
    workdir.Workdir.open(folder, method_group.resolved(cli.CONFIG.value), read_only=True)
    print(f"{folder}: already finished", flush=True)
    return True


def _train_or_evaluate() -> None:
    if cli.MODE.value == "train" and _finished():
        return
    # Imported here because worker processes import this file too and need none of it.
    from rcc_jax.build import set_up_jax
    from rcc_jax.commands import evaluate
    from rcc_jax.training import loop, nonfinite
    from rcc_jax.workdir import checkpoints

    set_up_jax(cli.CONFIG.value)
    processes.start(cli.DISTRIBUTED.value)
    _resolve_auto(may_guess=cli.MODE.value == "train")
    try:
        if cli.MODE.value == "train":
            loop.train(cli.CONFIG.value, cli.run_folder())
        else:
            evaluate.evaluate(
                cli.CONFIG.value,
                cli.run_folder(),
                checkpoint=cli.CHECKPOINT.value,
                images=cli.LIST.value,
            )
    except (nonfinite.NonFiniteError, WorkerError) as error:
        cli.fail(error, exit_code=1)
    except checkpoints.SaveError as error:
        end_without_room(error)


def _set_up_run() -> tuple[ml_collections.ConfigDict, str]:
    """Sets up JAX for a mode that uses a trained network; its configuration and its folder."""
    from rcc_jax.build import set_up_jax

    _resolve_auto()
    set_up_jax(cli.CONFIG.value)
    return cli.CONFIG.value, cli.run_folder()


def _predict() -> None:
    if not cli.INPUT.value or not cli.OUTPUT.value:
        cli.fail("--mode=predict needs --input=FILE|FOLDER|GLOB and --output=DIR.")
    from rcc_jax.commands import predict

    outcome = predict.predict(
        *_set_up_run(),
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
    from rcc_jax.commands import explain

    _, failed = explain.explain(
        *_set_up_run(),
        checkpoint=cli.CHECKPOINT.value,
        images=cli.INPUT.value,
        output=cli.OUTPUT.value,
        pair=cli.PAIR.value,
    )
    if failed:
        cli.fail(f"{failed} images could not be read (listed above).", exit_code=1)


def _label() -> None:
    if not cli.OUTPUT.value:
        cli.fail("--mode=label needs --output=DIR, the folder of the pseudo masks.")
    from rcc_jax.commands import label

    outcome = label.label(
        *_set_up_run(),
        output=cli.OUTPUT.value,
        part=cli.PART.value,
        checkpoint=cli.CHECKPOINT.value,
    )
    print(f"{outcome.written} images labelled, {outcome.kept} kept: {cli.OUTPUT.value}")


def _export() -> None:
    if not cli.OUTPUT.value:
        cli.fail("--mode=export needs --output=DIR.")
    from rcc_jax.commands import export

    export.export(*_set_up_run(), output=cli.OUTPUT.value, checkpoint=cli.CHECKPOINT.value)


def end_without_room(message: object) -> NoReturn:
    """Ends a run that cannot write, at once: anything still to be written would fail too."""
    try:
        cli.fail(message, exit_code=1)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


# The function of each mode; startup.py reports the errors that they raise.
RUN = {
    "train": _train_or_evaluate,
    "eval": _train_or_evaluate,
    "check": _check,
    "sweep": _sweep,
    "table": _table,
    "report": _report,
    "predict": _predict,
    "consensus": _consensus,
    "export": _export,
    "label": _label,
}
