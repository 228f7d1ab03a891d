"""The command line: one clear line for every mistake, and exit code 2."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from configs import demo
from rcc_jax.commands import flags as cli
from rcc_jax.config import method_group
from rcc_jax.errors import is_out_of_memory
from tests.support.commands import ENVIRONMENT, REPOSITORY, finish, start


def run(*flags, folder=REPOSITORY):
    """What is printed by a command that must be refused."""
    output, errors = finish(start(*flags, folder=folder), 2)
    assert output == ""
    assert errors.startswith("error: ")
    return errors.removeprefix("error: ")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--mode=train"], ["--config is missing", "--config=configs/demo.py"]),
        (["--config=configs/sweeps/components.py"], ["that file is a list; use --mode=sweep."]),
        (["--mode=sweep", "--config=demo"], ["that file is one run; lists are in configs/sweeps."]),
        (["--config=demo", "extra"], ["unexpected argument 'extra'; flags are written --name=val"]),
        (
            ["--mode=report", "--workdir=.", "--workdirs=a,b"],
            ["--workdir or --workdirs, not both."],
        ),
        (["--mode=report", "--workdirs=a,b"], ["of several folders needs --output=FILE.html."]),
        (["--config=fold"], ["--config=fold", "no such file", "Did you mean 'configs/folder.py'?"]),
        (
            ["--config=configs/dmo.py"],
            ["--config=configs/dmo.py", "no such file", "Did you mean 'configs/demo.py'?"],
        ),
        (
            ["--config=configs/demo.py", "--config.train.batchsize=4"],
            ["--config.train.batchsize", "did you mean --config.train.batch_size?"],
        ),
        (
            ["--config=configs/demo.py", "--config.optimizer.lr=1"],
            ["--config.optimizer.lr: there is no such field; optimizer has ", "learning_rate"],
        ),
        (
            ["--config=configs/demo.py", "--config.train.epochs=1"],
            ["did you mean --config.train.num_epochs?"],
        ),
        (
            ["--config=configs/demo.py", "--data.root=X"],
            ["--data.root: there is no such flag; did you mean --config.data.root?"],
        ),
        (
            ["--config=configs/demo.py", "--config.train.batch_size=x"],
            ["--config.train.batch_size=x: must be a whole number."],
        ),
        (
            ["--config=configs/demo.py", "--config.data.class_names='a b,c"],
            ["--config.data.class_names='a b,c: must be comma-separated names", "in quotes"],
        ),
        (
            ["--config=configs/demo.py", "--config.model.remat=maybe"],
            ["--config.model.remat=maybe: must be true or false."],
        ),
        (
            ["--config=configs/demo.py", "--config.optimizer.momentum=much"],
            ["--config.optimizer.momentum=much: must be a number."],
        ),
        (
            ["--config=configs/demo.py", "--config.train=3"],
            ["--config.train=3: is a group of fields; set one of them."],
        ),
        (
            ["--config=configs/demo.py", "--config.seed"],
            ["--config.seed: has no value; write --config.seed=VALUE."],
        ),
        (
            ["--mode=sweep", "--config=configs/sweeps/components.py", "--config.seed=1"],
            ["--config.seed: the file lists runs; use --set=seed=VALUE to set it in each."],
        ),
        (
            ["--config=configs/demo.py", "--chekpoint=best"],
            ["--chekpoint: there is no such flag; did you mean --checkpoint?"],
        ),
        (["--mode=trian"], ["--mode=trian", "train"]),
        (["--mode=eval"], ["--mode=eval needs --workdir=DIR"]),
        # Before anything is read or guessed.
        (
            ["--config=configs/folder.py", "--config.model.backbone=resnet5O"],
            ["config.model.backbone = 'resnet5O' is not known", "resnet50"],
        ),
        (
            ["--config=configs/folder.py:method=rc"],
            ["config.method.name = 'rc' is not known"],
        ),
        (
            ["--config=configs/folder.py", "--config.model.pretrained=READM.md"],
            ["config.model.pretrained = 'READM.md'", "Did you mean 'README.md'?"],
        ),
        (
            ["--mode=check", "--config=configs/folder.py", "--workdir=README.md"],
            ["README.md is a file; name a new folder"],
        ),
        (
            ["--mode=check", "--config=configs/folder.py", "--config.data.root=dcs"],
            ["data.root = 'dcs': there is no folder", "Did you mean 'docs'?"],
        ),
        (
            ["--config", "configs/demo.py", "--config.train.num_steps=3", "--config.data.val=5"],
            ["data.val = '5'", "START:STOP"],
        ),
        (["--config=configs/demo.py", "--set=seed=1"], ["--set belongs to --mode=sweep"]),
        (["--mode=table", "--workdir=.", "--shard=0/2"], ["--shard belongs to --mode=sweep"]),
        (
            ["--mode=table", "--workdir=.", "--config.eval.mode=sliding"],
            ["--mode=table reads finished runs and takes no --config."],
        ),
        (
            ["--config=configs/demo.py", "--checkpoint=best"],
            ["--checkpoint belongs to --mode=eval"],
        ),
        (["--config=configs/demo.py", "--list=x"], ["--list belongs to --mode=eval or sweep"]),
        (
            ["--config=configs/demo.py", "--mode=eval", "--input=x.jpg"],
            ["--input belongs to --mode=predict or consensus, not to --mode=eval"],
        ),
        (
            ["--config=configs/demo.py", "--mode=predict", "--input=x.jpg"],
            ["--mode=predict needs --input=FILE|FOLDER|GLOB and --output=DIR"],
        ),
        (["--mode=report"], ["needs --workdir=DIR", "--workdirs=DIR,DIR of several"]),
        (
            ["--config=configs/demo.py:steps=0"],
            ["'steps=0' must be at least 1; leave it out for the default."],
        ),
        (["--mode=eval", "--workdir", "/no/such/run"], ["/no/such/run/config.json: no such file"]),
    ],
)
def test_a_mistake_is_one_clear_line(flags, said):
    errors = run(*flags)
    assert errors.count("\n") == 1
    assert all(text in errors for text in said)


@pytest.mark.parametrize("mode", ["train", "check"])
def test_every_fault_of_the_settings_is_a_line(mode):
    flags = ["--config.seed=-1", "--config.train.batch_size=0", "--config.method.top_n=9"]
    lines = run(f"--mode={mode}", "--config=configs/folder.py:method=rcc", *flags).splitlines()
    assert lines[:3] == [
        "config.seed = -1 must be at least 0.",
        "config.train.batch_size = 0 must be at least 1.",
        "config.method.top_n = 9 must be from 3 to 8.",
    ]
    if mode == "train":
        assert len(lines) == 3
    else:  # It would then have checked the data.
        assert lines[3].startswith("config.data.labeled is not set")
        assert len(lines) == 4


def test_without_arguments_three_commands_are_named_which_can_be_read(tmp_path):
    output, errors = finish(start(), 2)  # A script whose arguments got lost has not trained.
    assert output == ""
    assert "error" not in errors
    commands = [line.split()[2:] for line in errors.splitlines() if line.startswith("  python ")]
    assert len(commands) == 3
    for command in commands:
        assert run(*command, "--mode=predict", folder=tmp_path).startswith("--mode=predict needs")


@pytest.mark.parametrize("name", ["configs/folder.py", "folder", "folder.py"])
def test_configurations_that_ship_work_in_any_folder(name, tmp_path):
    for flags in ([f"--config={name}"], ["--config", name]):
        errors = run(*flags, folder=tmp_path)
        assert errors.startswith(f"config.data.labeled is not set, and {tmp_path} ")
    assert "did you mean" in run(f"--config={name}", "--config.data.rot=x", folder=tmp_path)


def test_configurations_of_ones_own_come_first(tmp_path):
    own = tmp_path / "configs"
    (own / "more").mkdir(parents=True)
    (own / "demo.py").write_text("def get_config(arguments=None): return {'own demo'}\n")
    assert "--config=demo: get_config returns set" in run("--config=demo", folder=tmp_path)
    # They build on those that ship, as long as they have none of that name.
    (own / "more" / "mine.py").write_text(
        "from configs import common, helper\n"
        "def get_config(arguments=None):\n"
        "    config = common.get_config()\n"
        "    config.method.name = helper.NAME\n"
        "    return config\n"
    )
    (own / "helper.py").write_text("NAME = 'own method'\n")
    errors = run("--config=more/mine", "--mode=check", folder=tmp_path)
    assert "config.method.name = 'own method' is not known" in errors
    (own / "common.py").write_text("def get_config(): return {}['own common']\n")
    errors = run("--config=more/mine", folder=tmp_path)
    assert "KeyError: own common" in errors
    assert "configs/more/mine.py, line 3" in errors


def test_a_python_without_the_packages_says_how_to_get_them():
    command = [sys.executable, "-S", REPOSITORY / "main.py", "--help"]  # Without site-packages.
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert f"{sys.executable} lacks the package absl. In the project's folder run" in ended.stderr
    assert "`make setup`" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_folders_of_runs_may_have_commas_and_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a,b", "a", "c"):
        (tmp_path / name).mkdir()
    typed = f"~/a,b,{tmp_path}/c,~/none,~/a".split(",")
    names = [f"{tmp_path}/{name}" for name in ("a,b", "c", "none", "a")]
    assert cli._folders(typed) == names
    # As the flag splits a name in quotes.
    assert cli._folders([f"{tmp_path}/a,b", "~/c"]) == names[:2]


def test_a_tilde_is_the_home_folder():
    home = ENVIRONMENT["HOME"]
    errors = run("--mode=export", "--workdir=~/none", "--output=out")
    assert errors.startswith(f"{home}/none/config.json: no such file")
    errors = run("--config=demo", "--config.model.pretrained=~/none.npz")
    assert f"config.model.pretrained = '{home}/none.npz'" in errors


def test_a_full_memory_is_told_from_other_errors():
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jnp.zeros(2**46).block_until_ready()
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(ValueError("RESOURCE_EXHAUSTED"))


def test_a_full_memory_is_one_line():
    code = (
        "import jax.numpy as jnp; from rcc_jax.commands import modes, startup; "
        "modes.RUN['train'] = lambda: jnp.zeros(2**46).block_until_ready(); startup.run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--config=configs/demo.py"],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the memory of a device is full.")
    assert done.stderr.count("\n") == 1


def test_help_is_no_fault():
    output, errors = finish(start("--mode=eval", "--help"), 0)
    assert "--checkpoint" in output
    assert errors == ""


def test_workdir_is_named_after_config_and_arguments(tmp_path):
    # Evaluation of a run that does not exist says where it looked.
    config = REPOSITORY / "configs" / "demo.py"
    errors = run(f"--config={config}:method=unimatch,seed=2", "--mode=eval", folder=tmp_path)
    workdir = tmp_path / "runs" / "demo-method=unimatch,seed=2"
    assert errors.startswith(f"--workdir={workdir}: there is no such folder")
    assert not list(tmp_path.iterdir())


def test_the_recorded_configuration_names_the_folder_of_its_run(tmp_path):
    config = method_group.resolved(demo.get_config())
    (tmp_path / "config.json").write_text(json.dumps(config))
    errors = run("--mode=eval", f"--config=configs/recorded.py:{tmp_path}")
    assert errors.startswith(f"--workdir={tmp_path} has no latest checkpoint; train first")
