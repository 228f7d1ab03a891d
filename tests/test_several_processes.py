"""Runs of two processes as a user starts them: stopped, killed, resumed, evaluated."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.support import forks
from tests.support.commands import ENVIRONMENT, REPOSITORY, finish, free_port
from tests.support.runs import metrics, reached, saved_steps

STEPS = 32
# main.py, but a process that shows no sign of life counts as dead sooner.
IMPATIENT = """import runpy
from rcc_jax.distributed import processes

processes.HEARTBEAT_SECONDS = 10
runpy.run_path("main.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Starts a tiny run in several processes of one device each."""
    fields = {
        "model.backbone": "resnet10",
        "model.width": 4,
        "model.decoder_channels": 8,
        "model.dtype": "float32",
        "method.name": "supervised",
        "data.crop_size": 17,
        "data.labeled": "0:6",
        "data.val": "100000:100005",
        "data.num_threads": 1,
        "train.batch_size": 2,
        "train.num_steps": STEPS,
        "train.log_every": 4,
        "eval.every_steps": STEPS,
        "eval.batch_size": 4,
        "eval.pictures": 1,
    }

    script = tmp_path_factory.mktemp("impatient") / "main.py"
    script.write_text(IMPATIENT)

    def start(workdir, count, *flags, own_flags=((), ())):
        port = free_port()
        values = [f"--config.{name}={value}" for name, value in fields.items()]
        return [
            forks.start(
                script,
                [
                    *("--config=configs/demo.py", f"--workdir={workdir}", *values),
                    *((f"--distributed=localhost:{port},{index}/{count}",) if count > 1 else ()),
                    *flags,
                    *own_flags[index],
                ],
                folder=REPOSITORY,
                environment=ENVIRONMENT,
            )
            for index in range(count)
        ]

    return start


def wait_for_step(processes, workdir, step):
    """Returns once the metrics hold a step; fails if a process ends before."""
    limit = time.monotonic() + 300
    while not reached(workdir, step):
        assert all(process.poll() is None for process in processes), [
            process.communicate() for process in processes if process.poll() is not None
        ]
        assert time.monotonic() < limit
        time.sleep(0.01)


def stop(command, tmp_path):
    """Stops a run of two processes; returns its step."""
    # A cluster may tell one process alone; both save the same step.
    both = command(tmp_path, 2)
    wait_for_step(both, tmp_path, 4)
    both[1].terminate()
    (_, errors), (_, quiet) = (finish(process, 143) for process in both)
    (stopped,) = saved_steps(tmp_path)
    assert f"stopped and saved after step {stopped} of {STEPS}" in errors
    assert quiet == ""
    return stopped


@pytest.mark.slow
def test_stopped_and_resumed_by_one_process(command, tmp_path):
    stopped = stop(command, tmp_path)
    resume_alone(command, tmp_path, stopped)


@pytest.mark.slow
def test_killed_resumed_by_one_process_and_evaluated(command, tmp_path):
    stopped = stop(command, tmp_path)
    # The other process does not wait forever for one that is gone.
    both = command(tmp_path, 2)
    wait_for_step(both, tmp_path, stopped + 4)
    both[1].kill()
    since = time.monotonic()
    output, errors = both[0].communicate(timeout=120)
    assert time.monotonic() - since < 60
    assert both[0].returncode not in (0, 2, 143)
    # Ours where a sum fails, JAX's where it hangs until the other counts as dead.
    lost = "error: the connection to process 1 was lost" in errors
    assert lost or "another task died" in errors, errors
    assert not (lost and "Traceback" in errors)
    assert f"resuming after step {stopped}" in output
    both[1].communicate()
    resume_alone(command, tmp_path, stopped)
    evaluate(command, tmp_path)


@pytest.mark.slow
def test_the_first_process_draws_labels_that_depend_on_the_memory(command, tmp_path):
    changed = {"method.name": "daw", "train.num_steps": 2, "eval.every_steps": 2}
    flags = [f"--config.{name}={value}" for name, value in changed.items()]
    for process in command(tmp_path, 2, *flags):
        finish(process)
    assert (tmp_path / "pictures" / "unlabeled_0000002.png").exists()


def resume_alone(command, tmp_path, stopped):
    """Two processes' checkpoint on one, and every line is there once."""
    (alone,) = command(tmp_path, 1)
    output, _ = finish(alone)
    assert f"resuming after step {stopped}" in output
    steps = [line["step"] for line in metrics(tmp_path)]
    assert steps == [*range(4, STEPS + 1, 4), STEPS]
    assert len(list((tmp_path / "pictures").glob("step_*.png"))) == 1


def evaluate(command, tmp_path):
    """Each process counts its share of the images, and one of them prints."""
    both = command(tmp_path, 2, "--mode=eval")
    (output, _), (nothing, _) = (finish(process) for process in both)
    assert f"student, step {STEPS}\n" in output
    assert "student" not in nothing
    found = json.loads((tmp_path / f"evaluation_{STEPS}.json").read_text())
    expected = metrics(tmp_path)[-1]
    np.testing.assert_allclose(found["student"]["miou"], expected["miou"], atol=1e-2)


def test_processes_that_do_not_fit_together_end_with_one_error(command, tmp_path):
    workdir = tmp_path / "run"
    other = ((), ("--config.data.val=100000:100004",))
    both = command(workdir, 2, own_flags=other)
    errors = [finish(process, 2)[1] for process in both]
    full = [text for text in errors if text.startswith("error: config.data.val: ")]
    brief = [text for text in errors if text.startswith("error: stopped with process ")]
    assert len(full) == len(brief) == 1
    assert "100000:100005 in process 0, 100000:100004 in process 1" in full[0]
    assert all(text.count("\n") == 1 for text in errors)
    assert not workdir.exists()


def test_processes_without_a_common_folder_are_told(command, tmp_path):
    other = ((), (f"--workdir={tmp_path / 'other'}",))
    both = command(tmp_path / "run", 2, own_flags=other)
    errors = [finish(process, 2)[1] for process in both]
    for text in errors:
        assert "process 1 does not see what process 0 wrote there; name a folder on a disk" in text


def test_a_machine_of_no_cluster_is_told_what_to_give():
    cluster = ("SLURM_", "OMPI_", "KUBERNETES_", "TPU_", "JAX_COORDINATOR")
    process = subprocess.Popen(
        [sys.executable, "main.py", "--config=configs/demo.py", "--distributed=auto"],
        cwd=REPOSITORY,
        env={name: v for name, v in ENVIRONMENT.items() if not name.startswith(cluster)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _, errors = finish(process, 2)
    assert errors.startswith("error: --distributed=auto: found no Slurm, Open MPI or TPU pod")
