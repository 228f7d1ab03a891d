"""The GPUs of a task of the cluster manager Slurm."""

from collections.abc import Mapping


def visible_devices(environment: Mapping[str, str]) -> str | None:
    """The GPUs of a Slurm task; JAX by itself would take only one.

    Args:
        environment: Environment variables of the process.

    Returns:
        'all' for every visible GPU; where all tasks of a node see the same GPUs, the indices of
        this task's share among them; None outside Slurm, or if JAX_LOCAL_DEVICE_IDS is set.
    """
    if "SLURM_LOCALID" not in environment or environment.get("JAX_LOCAL_DEVICE_IDS"):
        return None
    visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    tasks = _tasks(environment)
    bound = "SLURM_GPUS_PER_TASK" in environment or "gpu" in environment.get(
        "SLURM_TRES_PER_TASK", ""
    )
    if tasks == 1 or bound or len(visible) < tasks:
        return "all"
    share, local = len(visible) // tasks, int(environment["SLURM_LOCALID"])
    return ",".join(str(index) for index in range(local * share, (local + 1) * share))


def _tasks(environment: Mapping[str, str]) -> int:
    """Tasks on this node, from a list such as '4(x2),3': 4 on the first two nodes, then 3."""
    nodes = []
    for item in environment.get("SLURM_STEP_TASKS_PER_NODE", "1").split(","):
        tasks, _, times = item.partition("(x")
        nodes += [int(tasks)] * int(times.rstrip(")") or 1)
    return nodes[min(int(environment.get("SLURM_NODEID", 0)), len(nodes) - 1)]
