"""Runs a list of configurations or stages in turn; skips what is finished.

After a failed run it continues with those that do not build on it.
"""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from input_pipeline.errors import DataError
from input_pipeline.partitions import folders
from rcc_jax import shipped
from rcc_jax.config import fields as config_fields
from rcc_jax.config import protocols
from rcc_jax.config.stages import Stage
from rcc_jax.distributed.interruption import Interrupted, Interruption
from rcc_jax.errors import ConfigError
from rcc_jax.workdir.folder import RESULT, evaluation_name, run_name

# Exit codes of a run that was ended by a signal: the sweep ends too.
STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGINT)


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        config: Configuration file and arguments, in the syntax of --config; '' for a stage that
            trains nothing.
        workdir: Folder of the run.
        after: Folder of the entry that it builds on; None if it builds on none.
        flags: Further flags. Those of a stage without `config` name its folders.
    """

    config: str
    workdir: pathlib.Path
    after: pathlib.Path | None = None
    flags: tuple[str, ...] = ()

    def command(self, overrides: Sequence[str]) -> list[str]:
        """The command that starts or resumes the run."""
        fields = [f"--config.{override}" for override in overrides]
        own = [f"--config={self.config}", f"--workdir={self.workdir}"] if self.config else []
        # Later values of a field take precedence.
        return [*shipped.command(), *own, *self.flags, *fields]


def parse_shard(text: str) -> tuple[int, int]:
    """'INDEX/COUNT' as two numbers, 0 <= INDEX < COUNT.

    Raises:
        ConfigError: If the text has another form.
    """
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise ConfigError(
            f"--shard={text}: write INDEX/COUNT with INDEX from 0 to COUNT - 1, such as 0/8."
        )
    return int(index), int(count)


def plan(
    entries: Sequence[str | Stage], folder: str | os.PathLike, shard: str = "0/1"
) -> list[SweepRun]:
    """The runs of a shard: every COUNT-th of the list, with those that build on it.

    Args:
        entries: Configurations and arguments, in the syntax of --config, or stages.
        folder: Parent folder of the workdirs, one per run.
        shard: 'INDEX/COUNT'.

    Raises:
        ConfigError: If the shard is malformed, two runs have the same name, or a stage follows one
            that is not listed before it.
    """
    index, count = parse_shard(shard)
    stages = [
        entry if isinstance(entry, Stage) else Stage(run_name(entry), entry) for entry in entries
    ]
    names = [stage.name for stage in stages]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"the sweep lists {twice[0]} twice; every run needs its own folder.")
    folders = {name: pathlib.Path(folder) / name for name in names}
    chains: dict[str, list[SweepRun]] = {}
    chain_of: dict[str, str] = {}
    for stage in stages:
        if stage.after and stage.after not in chain_of:
            raise ConfigError(
                f"the sweep lists {stage.name} after {stage.after}, which is not before it."
            )
        chain_of[stage.name] = chain_of[stage.after] if stage.after else stage.name
        chains.setdefault(chain_of[stage.name], []).append(
            SweepRun(
                _find(stage.config) if stage.config else "",
                folders[stage.name],
                folders[stage.after] if stage.after else None,
                tuple(_with_folders(flag, folders) for flag in stage.flags),
            )
        )
    return [run for chain in list(chains.values())[index::count] for run in chain]


def _find(config: str) -> str:
    found = shipped.find(config)
    file = found.partition(":")[0]
    if not os.path.isfile(file):
        raise ConfigError(
            f"{config}: there is no configuration file {file}, neither here nor among the "
            f"shipped ones ({shipped.CONFIGS})."
        )
    return found


def _with_folders(flag: str, folders: Mapping[str, pathlib.Path]) -> str:
    for name, folder in folders.items():
        flag = flag.replace(f"{{{name}}}", str(folder))
    return flag


def check_overrides(overrides: Sequence[str]) -> None:
    """Rejects overrides that would stop every run, before the first one starts.

    Args:
        overrides: 'field=value' for every run.

    Raises:
        ConfigError: If a field is unknown or a value has the wrong type.
        DataError: If data.root does not exist.
    """
    for override in overrides:
        value = config_fields.read_override(override)
        if override.startswith("data.root=") and value:
            try:
                folders.find_root(value)
            except DataError as error:
                raise DataError(f"--set={override}: {error}") from None


def run_all(
    runs: Sequence[SweepRun],
    overrides: Sequence[str],
    log: Callable[[str], None],
    images: str = "",
) -> list[SweepRun]:
    """Starts each run in its own process and waits for it; a finished run ends at once.

    A signal is passed on to the run, which saves and stops; the same command resumes from there.

    Args:
        runs: From `plan`.
        overrides: 'field=value' for every run.
        log: Called with a line of text.
        images: A list on which the last checkpoint of each run is scored once, besides the
            validation images; '' for none.

    Returns:
        The runs that failed, in training or in scoring, and those that build on them.

    Raises:
        Interrupted: After SIGTERM or SIGINT.
    """
    failed: list[SweepRun] = []
    for number, run in enumerate(runs, start=1):
        title = f"[{number}/{len(runs)}] {run.workdir.name}"
        if run.after in [other.workdir for other in failed]:
            log(f"{title}: not started, since {run.after.name} failed")
            failed.append(run)
            continue
        log(title)
        command = run.command(overrides)
        code = run_process(command)
        if not code and images and run.config and not _is_scored(run.workdir, images):
            code = run_process([*command, "--mode=eval", f"--list={images}"])
        if code in STOPPED:
            raise Interrupted(
                code - 128, f"sweep stopped in {run.workdir}; the same command resumes from there."
            )
        if code:
            log(f"{title}: FAILED with exit code {code}; the sweep continues")
            failed.append(run)
    return failed


def _is_scored(workdir: pathlib.Path, images: str) -> bool:
    """Whether the end of a run is scored on a list; False if a record cannot be read."""
    try:
        return _has_score(workdir, images)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _has_score(workdir: pathlib.Path, images: str) -> bool:
    result = json.loads((workdir / RESULT).read_text())
    path = workdir / evaluation_name(result["step"], images)
    if not path.exists():
        return False
    found, config = json.loads(path.read_text()), json.loads((workdir / "config.json").read_text())
    same = protocols.name(found.get("eval", config["eval"])) == protocols.of_line(result, config)
    return same and found["images"] == images


def run_process(
    command: Sequence[str],
    follow: Callable[[subprocess.Popen], None] = lambda process: None,
    **options: Any,
) -> int:
    """Runs a command to its end and passes a SIGTERM or SIGINT on to it once, so that it saves.

    Args:
        command: The program and its arguments.
        follow: Called with the process once it has started.
        **options: Options of `subprocess.Popen`.

    Returns:
        The exit code of the command; after a signal always 128 plus the number of the signal.
    """
    with Interruption() as interruption:
        # A new session, so that Ctrl-C reaches the command only through this process, once.
        process = subprocess.Popen(command, start_new_session=True, **options)
        follow(process)
        sent = False
        while True:
            try:
                code = process.wait(timeout=0.5)
                break
            except subprocess.TimeoutExpired:
                if interruption.requested() and not sent:
                    process.send_signal(interruption.signum)
                    sent = True
            except KeyboardInterrupt:
                process.kill()
                raise
    # The run may have finished just before the signal, but the rest of the sweep must stop too.
    return 128 + interruption.signum if interruption.requested() else code
