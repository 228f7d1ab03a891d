"""Several processes of one run: how they start, agree on a value, and end together."""

import atexit
import contextlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from rcc_jax.errors import ConfigError

# After so long without a sign of life a process counts as dead, and JAX ends the others.
HEARTBEAT_SECONDS = 60
_WATCH_SECONDS = 1
_FAILED = "rcc_jax/failed"
_EXPLICIT = re.compile(r"(?P<coordinator>[^,]+:\d+),(?P<index>\d+)/(?P<count>\d+)")

# What errors of the sums over all processes have in common, on CPUs and on GPUs.
_CONNECTION = re.compile("gloo|nccl|connection|unavailable", re.IGNORECASE)


class _Group:
    """This process among the others; alone until `start`."""

    def __init__(self):
        self.client = None
        self.index, self.count = 0, 1
        self.rounds = 0
        # Held once this process is ending for a fault, its own or another's.
        self.ending = threading.Lock()
        self.done = threading.Event()


_group = _Group()


def start(how: str) -> None:
    """Joins this process to the others; to be called before the first use of a device.

    Args:
        how: 'off' for one process alone; 'auto' where JAX finds the others by itself (Slurm, Open
            MPI, TPU pods); else HOST:PORT,INDEX/COUNT, where HOST:PORT is an address of process 0.

    Raises:
        ConfigError: If this cannot be read, or the others cannot be reached.
    """
    if how == "off":
        return
    arguments = {} if how == "auto" else _explicit(how)

    import jax
    from jax._src import distributed  # Its key-value store has no public name.

    # Without it processes on CPUs cannot add anything up; other devices do not care.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(**arguments, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(_start_failure(how, error)) from error
    devices = slurm_devices(os.environ) if how == "auto" else None
    if devices is not None:
        jax.config.update("jax_cuda_visible_devices", devices)
        jax.config.update("jax_rocm_visible_devices", devices)
    state = distributed.global_state
    _group.client, _group.index, _group.count = state.client, state.process_id, state.num_processes
    watch = threading.Thread(target=_end_with_others, name="end-with-others", daemon=True)
    watch.start()
    # Before JAX shuts down, which it also does at exit: the last to register is the first to run.
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
            f"--distributed={how}: no cluster was recognised (Slurm, Open MPI and TPU pods are); "
            "give --distributed=HOST:PORT,INDEX/COUNT."
        )
    return (
        f"--distributed={how}: the processes did not find each other "
        f"({str(error).splitlines()[0][:200]}). Is HOST the machine of process 0, its port free "
        "and open to the others, and was every process started?"
    )


def slurm_devices(environment: Mapping[str, str]) -> str | None:
    """The GPUs of a Slurm task, of which JAX by itself takes one alone.

    Args:
        environment: Of the process.

    Returns:
        'all' that are visible, or the indices among the visible ones where the tasks of a node all
        see the same; None outside Slurm, or where JAX_LOCAL_DEVICE_IDS says it.
    """
    if "SLURM_LOCALID" not in environment or environment.get("JAX_LOCAL_DEVICE_IDS"):
        return None
    visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    tasks = _slurm_tasks(environment)
    bound = "SLURM_GPUS_PER_TASK" in environment or "gpu" in environment.get(
        "SLURM_TRES_PER_TASK", ""
    )
    if tasks == 1 or bound or len(visible) < tasks:
        return "all"
    share, local = len(visible) // tasks, int(environment["SLURM_LOCALID"])
    return ",".join(str(index) for index in range(local * share, (local + 1) * share))


def _slurm_tasks(environment: Mapping[str, str]) -> int:
    """Tasks on this node, from a list such as '4(x2),3': 4 on the first two nodes, then 3."""
    nodes = []
    for item in environment.get("SLURM_STEP_TASKS_PER_NODE", "1").split(","):
        tasks, _, times = item.partition("(x")
        nodes += [int(tasks)] * int(times.rstrip(")") or 1)
    return nodes[min(int(environment.get("SLURM_NODEID", 0)), len(nodes) - 1)]


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
    """The values of all processes, in their order; every process has to call it.

    Args:
        value: Anything that JSON holds.
    """
    if _group.count == 1:
        return [value]
    number, _group.rounds = _group.rounds, _group.rounds + 1
    _group.client.key_value_set(_key(number, _group.index), json.dumps(value))
    values = [json.loads(_wait_for(_key(number, each))) for each in range(_group.count)]
    # Whoever has set its value of this round has read all of the last one.
    if number:
        _group.client.key_value_delete(_key(number - 1, _group.index))
    return values


def _key(number: int, index: int) -> str:
    return f"rcc_jax/gather/{number}/{index}"


def _wait_for(key: str) -> str:
    # No limit of time: while the others work all is well, and if one dies this one is ended. In
    # short tries, since Ctrl-C is only noticed between two.
    while True:
        try:
            return _group.client.blocking_key_value_get(key, 5000)
        except RuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def from_first(value: Any) -> Any:
    """The value of process 0; every process has to call it."""
    return gather(value if is_first() else None)[0]


def wait_for_all() -> None:
    """Returns when every process has come here."""
    gather(None)


def check_same(values: Mapping[str, Any], hint: str) -> None:
    """Refuses processes that differ.

    Args:
        values: By name, what has to be the same everywhere.
        hint: What to do about it.

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
    """Tells the other processes of a fault that ends this one, and so them.

    Args:
        message: What went wrong.
        exit_code: The exit code of all.

    Returns:
        What this process is to print: the message, but where another announced a fault before, as
        all do where all find the same one, a line on that.
    """
    if _group.count == 1:
        return str(message)
    # Never released: if the watching thread has it, this waits for it to end the process.
    _group.ending.acquire()
    fault = {"process": _group.index, "line": str(message).splitlines()[0], "code": exit_code}
    try:
        _group.client.key_value_set(_FAILED, json.dumps(fault))
    except RuntimeError:
        with contextlib.suppress(RuntimeError):
            return _ended_by(json.loads(_group.client.blocking_key_value_get(_FAILED, 1000)))
    return str(message)


def lost_connection(error: Exception) -> str | None:
    """What to say of an error that means another process is gone; None for any other error."""
    # ValueError: what newer versions of JAX make of it.
    if not isinstance(error, RuntimeError | ValueError) or not _CONNECTION.search(str(error)):
        return None
    # The end of the line: it begins with the path of a source file.
    line = f"{type(error).__name__}: {str(error).splitlines()[0][-200:]}"
    return (
        f"the connection to another process was lost ({line}). It has ended, as its own output may "
        "tell, or its host cannot be reached; the same commands go on after the last checkpoint."
    )


def leave(exit_code: int) -> NoReturn:
    """Ends this process after `announce`."""
    if _group.count == 1:
        sys.exit(exit_code)
    sys.stdout.flush()
    sys.stderr.flush()
    if is_first():
        # The announcement is kept here: time for the others to read it.
        time.sleep(3 * _WATCH_SECONDS)
    # Not sys.exit, at which JAX waits for processes that may hang in a sum with this one.
    os._exit(exit_code)


def _end_with_others() -> None:
    """Watches for an announced fault: the main thread may hang in a sum with who announced it."""
    while not _group.done.wait(_WATCH_SECONDS):
        try:
            fault = json.loads(_group.client.key_value_try_get(_FAILED))
        except RuntimeError:
            continue  # None yet. If it is process 0 that is gone, JAX ends this process.
        if _group.ending.acquire(blocking=False):
            print(f"error: {_ended_by(fault)}", file=sys.stderr, flush=True)
            leave(fault["code"])
        return


def _ended_by(fault: Mapping[str, Any]) -> str:
    return f"stopped with process {fault['process']}, which ended: {fault['line']}"
