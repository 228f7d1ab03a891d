"""Weights by name as a user has them: HF_ENDPOINT, two starts, two processes, exit codes."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest
import safetensors.numpy
from flax import nnx

from rcc_jax.models import DeepLabV3Plus
from tests.support import local_hub
from tests.support.commands import ENVIRONMENT, REPOSITORY, finish, free_port, start_afresh
from tests.support.runs import tiny_run
from tests.support.weight_files import published
from tests.test_own_data import TINY, draw

# What a process of several does to find its weights: its place among them, the folder of the run.
FIND = """
import dataclasses, json, sys
from configs import folder
from rcc_jax.distributed import processes
from rcc_jax.training import first_weights
config = folder.get_config("backbone=resnet18")
processes.start(sys.argv[1])
start = first_weights.find(config, sys.argv[2], lambda line: None)
print(json.dumps(dataclasses.asdict(start)), flush=True)
"""


def environment(hub, home):
    given = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "CI": ""}
    return {**ENVIRONMENT, **given}


def offer(hub, repository, width):
    model = nnx.eval_shape(
        lambda: DeepLabV3Plus(4, "resnet18", "v1", width=width, rngs=nnx.Rngs(0))
    )
    hub.files[repository] = safetensors.numpy.save(published(model))


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 403, 404, 503])
def test_an_answer_of_the_hub_is_one_line(tmp_path, status):
    with local_hub.serve() as hub:
        hub.status = status
        flags = ["--config.model.pretrained=hub:timm/net", "--config.model.stem=v1"]
        flags = [*tiny_run("", tmp_path / "run"), *flags]
        _, errors = finish(start_afresh(*flags, environment=environment(hub, tmp_path)), 2)
    assert errors.startswith(
        f"error: config.model.pretrained = 'hub:timm/net': {hub.address} answers {status}: "
    )
    assert errors.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_own_images_start_from_the_usual_weights_and_resume_without_them(tmp_path):
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    draw(tmp_path / "photos")
    flags = ["--config=configs/folder.py", "--config.data.root=photos", "--workdir=run", *TINY]
    flags = [flag for flag in flags if "model.width" not in flag]
    flags += ["--config.model.backbone=resnet18"]
    home = tmp_path / "home"

    def run(hub):
        process = start_afresh(*flags, folder=tmp_path, environment=environment(hub, home))
        output, errors = finish(process)
        assert errors == ""
        return output

    with local_hub.serve() as hub:
        offer(hub, "timm/resnet18.tv_in1k", 64)
        output = run(hub)
        assert "guessed --config.model.pretrained=hub:timm/resnet18.tv_in1k (the usual" in output
        assert "pretrained weights: 100 tensors of the backbone (stem v1)" in output
        record = json.loads((tmp_path / "run/pretrained.json").read_text())
        assert (record["given"], record["revision"]) == ("auto", local_hub.REVISION)

        hub.asked.clear()
        shutil.rmtree(home)
        (tmp_path / "run/result.json").unlink()
        output = run(hub)
    assert "resuming after step 2" in output
    assert "pretrained" not in output
    assert hub.asked == []


@pytest.mark.slow
@pytest.mark.parametrize("offered", [True, False])
def test_processes_follow_the_first(tmp_path, offered):
    """On another machine, with a cache of its own, the second downloads the same revision."""
    repository = "timm/resnet18.tv_in1k"
    with local_hub.serve() as hub:
        if offered:
            hub.files[repository] = b"weights"
        address = f"localhost:{free_port()}"
        both = [
            subprocess.Popen(
                [sys.executable, "-c", FIND, f"{address},{index}/2", tmp_path / "run"],
                cwd=REPOSITORY,
                env=environment(hub, tmp_path / f"home{index}"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(2)
        ]
        first, second = (json.loads(finish(process)[0].splitlines()[-1]) for process in both)
    assert first["record"] == second["record"]
    if offered:
        asked = [request for request in hub.asked if request.startswith("GET")]
        assert asked == [f"GET {repository}@main", f"GET {repository}@{local_hub.REVISION}"]
        assert first["record"]["revision"] == local_hub.REVISION
        assert [pathlib.Path(each["path"]).read_text() for each in (first, second)] == 2 * [
            "weights"
        ]
    else:
        assert len(hub.asked) == 1
        assert first["path"] == second["path"] == ""
        assert first["record"]["weights"] == "random"
