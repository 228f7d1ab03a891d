"""The GPUs of a task, the flag, and the messages between two processes."""

import subprocess
import sys
import textwrap

import pytest

from rcc_jax.distributed import processes, slurm
from rcc_jax.errors import ConfigError
from tests.support.commands import ENVIRONMENT, REPOSITORY, finish, free_port

EIGHT = "0,1,2,3,4,5,6,7"


@pytest.mark.parametrize(
    ("environment", "devices"),
    [
        ({}, None),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2)"}, "all"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_LOCALID": "1"}, "4,5,6,7"),
        ({"SLURM_STEP_TASKS_PER_NODE": "8(x2)", "SLURM_LOCALID": "3"}, "3"),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2),4", "SLURM_NODEID": "2"}, "0,1"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_GPUS_PER_TASK": "8"}, "all"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2", "JAX_LOCAL_DEVICE_IDS": "5"}, None),
    ],
)
def test_a_slurm_task_takes_its_share_of_the_gpus(environment, devices):
    if environment:
        environment = {"SLURM_LOCALID": "0", "CUDA_VISIBLE_DEVICES": EIGHT, **environment}
    assert slurm.visible_devices(environment) == devices


@pytest.mark.parametrize("how", ["here", "host:1", "host:1,2/2", "host,0/2", "host:1,0/0"])
def test_a_flag_that_cannot_be_read(how):
    with pytest.raises(ConfigError, match="HOST:PORT,INDEX/COUNT"):
        processes.start(how)


def test_one_process_agrees_with_itself():
    assert processes.gather(3) == [3]
    assert processes.from_first("a") == "a"
    processes.check_same({"batch": 8}, "")


CONVERSATION = textwrap.dedent("""
    import os, sys
    from rcc_jax.distributed import processes
    from rcc_jax.errors import ConfigError

    processes.start(sys.argv[1])
    index = processes.index()
    for number in range(3):
        assert processes.gather({"n": number, "i": index}) == [
            {"n": number, "i": 0}, {"n": number, "i": 1}
        ]
    assert processes.from_first(f"of {index}") == "of 0"
    processes.check_same({"same": 1}, "hint")
    try:
        processes.check_same({"same": 1, "batch": 8 + index}, "hint")
    except ConfigError as error:
        assert str(error) == "batch: 8 in process 0, 9 in process 1. hint"
    else:
        raise AssertionError("different values went unnoticed")
    if sys.argv[2] == "fail" and index == 1:
        print("error: " + processes.announce("the disk is full\\nmore of it", 7), file=sys.stderr)
        processes.leave(7)
    if sys.argv[2] == "fail":
        processes.gather("the other will never answer")
    if sys.argv[2] == "vanish":
        processes._SILENT_SECONDS = 3
        if index == 0:
            assert processes.lost_process(RuntimeError("a fault of this process")) is None
        processes.wait_for_all()
        if index == 0:
            print(processes.lost_process(RuntimeError("a sum failed")), file=sys.stderr)
        sys.stderr.flush()
        os._exit(9)
""")


CODES = {"well": 0, "fail": 7, "vanish": 9}


@pytest.mark.parametrize("ending", ["well", "fail", pytest.param("vanish", marks=pytest.mark.slow)])
def test_two_processes_agree_and_end_together(ending):
    port = free_port()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", CONVERSATION, f"localhost:{port},{index}/2", ending],
            cwd=REPOSITORY,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    first, second = (finish(process, CODES[ending])[1] for process in both)
    if ending == "well":
        assert (first, second) == ("", "")
    elif ending == "vanish":
        assert first.startswith(
            "the connection to process 1 was lost (RuntimeError: a sum failed). That process has"
        )
    else:
        assert first == "error: stopped with process 1, which ended: the disk is full\n"
        assert second == "error: the disk is full\nmore of it\n"


def test_an_error_without_text_has_a_line_too():
    assert processes._first_line(RuntimeError()) == "no details"
    assert processes._first_line(RuntimeError("one\ntwo")) == "one"
