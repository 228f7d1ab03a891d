"""Several processes of one run: how they start, exchange values, and end together."""

import atexit
import contextlib
import itertools
import json
import os
import re
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from rcc_jax.distributed import slurm
from rcc_jax.errors import ConfigError

# A process without a heartbeat for this long counts as dead, and JAX ends the others.
HEARTBEAT_SECONDS = 60
_WATCH_SECONDS = 1
_FAILED = "rcc_jax/failed"
_EXPLICIT = re.compile(r"(?P<coordinator>[^,]+:\d+),(?P<index>\d+)/(?P<count>\d+)")
_BEATS = "rcc_jax/beats/"
# A process whose beats have not changed for this long is gone; it gives one a second.
_SILENT_SECONDS = 5


class _Group:
    """What this process knows of the others; it is alone until `start`."""

    def __init__(self):
        self.client = None
        self.index, self.count = 0, 1
        self.rounds = 0
        # Acquired for good once a fault, here or in another process, ends this one.
        self.ending = threading.Lock()
        self.done = threading.Event()


_group = _Group()


def start(how: str) -> None:
    """Connects this process to the others; call it before the first use of a device.

    Args:
        how: 'off' for a single process; 'auto' where JAX finds the others by itself (Slurm, Open
            MPI, TPU pods); else HOST:PORT,INDEX/COUNT, where HOST:PORT is an address of process 0.

    Raises:
        ConfigError: If `how` is none of these, or the other processes cannot be reached.
    """
    if how == "off":
        return
    arguments = {} if how == "auto" else _explicit(how)

    import jax
    from jax._src import distributed  # Its key-value store has no public name.

    # Collectives between CPU processes need it; other devices ignore it.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(**arguments, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(_start_failure(how, error)) from error
    devices = slurm.visible_devices(os.environ) if how == "auto" else None
    if devices is not None:
        jax.config.update("jax_cuda_visible_devices", devices)
        jax.config.update("jax_rocm_visible_devices", devices)
    state = distributed.global_state
    _group.client, _group.index, _group.count = state.client, state.process_id, state.num_processes
    watch = threading.Thread(target=_end_with_others, name="end-with-others", daemon=True)
    watch.start()
    # Exit functions run last in, first out, so this one runs before JAX shuts down.
    atexit.register(lambda: (_group.done.set(), watch.join()))


def _explicit(how: str) -> dict[str, Any]:
    match = _EXPLICIT.fullmatch(how)
    if match is None or int(match["index"]) >= int(match["count"]):
        raise ConfigError(
            f"--distributed={how}: give off, auto, or HOST:PORT,INDEX/COUNT with INDEX from 0 to "
            "COUNT - 1 and HOST the machine of process 0, such as node1:9870,0/2."
        )
    return {
        "coordinator_address": match["coordinator"],
        "process_id": int(match["index"]),
        "num_processes": int(match["count"]),
        "cluster_detection_method": "deactivate",
    }


def _start_failure(how: str, error: Exception) -> str:
    if isinstance(error, ValueError):
        return (
            f"--distributed={how}: found no Slurm, Open MPI or TPU pod; use "
            "--distributed=HOST:PORT,INDEX/COUNT."
        )
    return (
        f"--distributed={how}: the processes did not find each other "
        f"({_first_line(error)[:200]}). Is HOST the machine of process 0, its port free "
        "and open to the others, and was every process started?"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no details"])[0]


def index() -> int:
    """The number of this process."""
    return _group.index


def count() -> int:
    """The number of processes."""
    return _group.count


def is_first() -> bool:
    """Whether this is the one process that writes and prints."""
    return _group.index == 0


def gather(value: Any) -> list[Any]:
    """The values of all processes, by index; every process must call it.

    Args:
        value: Anything that JSON can hold.
    """
    if _group.count == 1:
        return [value]
    number, _group.rounds = _group.rounds, _group.rounds + 1
    _group.client.key_value_set(f"{_round(number)}{_group.index}", json.dumps(value))
    values = _wait_for_all_values(number)
    # A process that has set its value of this round has read all values of the last one.
    if number:
        _group.client.key_value_delete(f"{_round(number - 1)}{_group.index}")
    return values


def _round(number: int) -> str:
    return f"rcc_jax/gather/{number}/"


def _wait_for_all_values(number: int) -> list[Any]:
    # No time limit: the others may be busy for long, and if one dies, JAX ends this process.
    pause = 0.001
    while len(found := _read(_round(number))) < _group.count:
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
    return [json.loads(found[index]) for index in range(_group.count)]


def _read(folder: str) -> dict[int, str]:
    """The values of a folder of the key-value store, by the index of their process."""
    entries = _group.client.key_value_dir_get(folder)
    return {int(key.rsplit("/", 1)[1]): value for key, value in entries}


def from_first(value: Any) -> Any:
    """The value of process 0; every process must call it."""
    return gather(value if is_first() else None)[0]


def wait_for_all() -> None:
    """Returns when every process has called it."""
    gather(None)


def check_same(values: Mapping[str, Any], hint: str) -> None:
    """Refuses values that differ between processes; every process must call it.

    Args:
        values: The values that must be equal, by name.
        hint: What the user should do, the end of the message.

    Raises:
        ConfigError: In every process, naming the first value that differs.
    """
    everywhere = gather(dict(values))
    for number, found in enumerate(everywhere):
        for name in sorted(found.keys() | values.keys()):
            first, here = (each.get(name, "(absent)") for each in (everywhere[0], found))
            if first != here:
                raise ConfigError(
                    f"{name}: {first} in process 0, {here} in process {number}. {hint}"
                )


def announce(message: object, exit_code: int) -> str:
    """Announces a fault that ends this process; the others then end as well.

    Args:
        message: What went wrong.
        exit_code: The exit code of all processes.

    Returns:
        The text that this process prints: the message, or one line on an earlier fault if another
        process announced one first, as happens when all find the same fault.
    """
    if _group.count == 1:
        return str(message)
    # If the watching thread holds it, this blocks until that thread ends the process.
    _group.ending.acquire()
    fault = {"process": _group.index, "line": str(message).splitlines()[0], "code": exit_code}
    try:
        _group.client.key_value_set(_FAILED, json.dumps(fault))
    except RuntimeError:
        with contextlib.suppress(RuntimeError):
            return _ended_by(json.loads(_group.client.blocking_key_value_get(_FAILED, 1000)))
    return str(message)


def lost_process(error: Exception) -> str | None:
    """A message for an error that follows from the end of another process.

    Args:
        error: What a collective operation, or anything else, has raised.

    Returns:
        None if every other process still gives signs of life, so that the error is of this one.
    """
    # What collectives raise; JAX 0.12 raises a ValueError on CPUs.
    if not isinstance(error, RuntimeError | ValueError):
        return None
    gone = _silent_processes()
    if not gone:
        return None
    # Keep the end of the line, which begins with the path of a source file.
    line = f"{type(error).__name__}: {_first_line(error)[-200:]}"
    return (
        f"the connection to process {gone[0]} was lost ({line}). That process has ended (see "
        "its output), or its host cannot be reached. The same commands resume from the last "
        "checkpoint."
    )


def _silent_processes() -> list[int]:
    try:
        before = _read(_BEATS)
        time.sleep(_SILENT_SECONDS)
        after = _read(_BEATS)
    except RuntimeError:
        return [0]  # It stores the beats.
    others = set(range(_group.count)) - {_group.index}
    return sorted(each for each in others if before.get(each) == after.get(each))


def leave(exit_code: int) -> NoReturn:
    """Ends this process after `announce`."""
    if _group.count == 1:
        sys.exit(exit_code)
    sys.stdout.flush()
    sys.stderr.flush()
    if is_first():
        # Process 0 stores the announcement: give the others time to read it.
        time.sleep(3 * _WATCH_SECONDS)
    # Not sys.exit: there JAX waits for processes that may be blocked in a collective with this one.
    os._exit(exit_code)


def _end_with_others() -> None:
    """Ends this process after an announced fault, and shows the others that this one lives.

    The main thread may be blocked in a collective with the failed process.
    """
    beats = itertools.count()
    while not _group.done.wait(_WATCH_SECONDS):
        try:
            _group.client.key_value_set(
                f"{_BEATS}{_group.index}", str(next(beats)), allow_overwrite=True
            )
            fault = json.loads(_group.client.key_value_try_get(_FAILED))
        except RuntimeError:
            continue  # No announcement yet. If process 0 itself is gone, JAX ends this process.
        if _group.ending.acquire(blocking=False):
            print(f"error: {_ended_by(fault)}", file=sys.stderr, flush=True)
            leave(fault["code"])
        return


def _ended_by(fault: Mapping[str, Any]) -> str:
    return f"stopped with process {fault['process']}, which ended: {fault['line']}"
