import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap

import pytest

from rcc_jax.config import schema
from rcc_jax.errors import ConfigError
from rcc_jax.workdir import revisions
from rcc_jax.workdir.folder import Workdir, check_place


def config(**changes):
    return {
        "seed": 0,
        "class_names": ("road", "car"),
        "data": {"root": "data", "crop_size": 321},
        "eval": {"mode": "whole", "window": None},
        **changes,
    }


def test_first_start_records_and_the_same_config_goes_on(tmp_path):
    with Workdir.open(tmp_path / "runs" / "a", config()) as workdir:
        recorded = json.loads(workdir.config_path.read_text())
    assert recorded == {**config(), "class_names": ["road", "car"]}
    with Workdir.open(tmp_path / "runs" / "a", config()) as workdir:
        assert workdir.checkpoints_path.parent == workdir.pictures_path.parent == workdir.path
        assert workdir.metrics_path == tmp_path / "runs" / "a" / "metrics.jsonl"


def test_fields_that_cannot_change_the_result_may_change(tmp_path):
    Workdir.open(tmp_path, config()).close()
    other = config(data={"root": "/elsewhere", "crop_size": 321}, eval={"mode": "sliding"})
    Workdir.open(tmp_path, other).close()
    assert json.loads((tmp_path / "config.json").read_text())["data"]["root"] == "data"


def test_another_config_is_refused_with_every_field_that_differs(tmp_path):
    Workdir.open(tmp_path, config()).close()
    other = config(seed=1, data={"root": "/elsewhere", "crop_size": 513}, method={"name": "rcc"})
    with pytest.raises(ConfigError) as caught:
        Workdir.open(tmp_path, other)
    lines = str(caught.value).splitlines()
    assert str(tmp_path) in lines[0]
    assert lines[1:-1] == [
        "  data.crop_size: 321 -> 513",
        '  method.name: (absent) -> "rcc"',
        "  seed: 0 -> 1",
    ]
    assert lines[-1] == "Use another --workdir for this config, or set these fields back."
    # A refused start releases the folder.
    Workdir.open(tmp_path, config()).close()


def test_a_field_that_a_run_lacks_has_the_value_that_reproduces_it(tmp_path):
    field, value = "data.cutmix_partner", schema.fields()["data.cutmix_partner"].before
    group, name = field.split(".")
    Workdir.open(tmp_path, config()).close()
    before = (tmp_path / "config.json").read_bytes()
    newer, other = config(), config()
    newer[group] = {**newer[group], name: value}
    other[group] = {**other[group], name: "something else"}
    with pytest.raises(ConfigError, match=f'{field}: "{value}" -> "something else"') as caught:
        Workdir.open(tmp_path, other)
    assert f"--config.{field}={value}" in str(caught.value)
    with Workdir.open(tmp_path, newer, read_only=True) as workdir:
        assert workdir.added == {field: value}
    assert (tmp_path / "config.json").read_bytes() == before
    with Workdir.open(tmp_path, newer) as workdir:
        assert workdir.added == {field: value}
    # Recorded now, so that the warning comes once.
    with Workdir.open(tmp_path, newer) as workdir:
        assert workdir.added == {}
    recorded = json.loads((tmp_path / "config.json").read_text())
    assert recorded == {**newer, "class_names": ["road", "car"]}
    with Workdir.open(tmp_path, other, may_change=(field,)) as workdir:
        assert workdir.added == {}


def test_warning_names_what_changed_and_how_new_fields_are_set():
    assert revisions.warning(revisions.CURRENT, {}, {}) is None
    line = revisions.warning(1, {}, {"method.name": "rcc"})
    assert revisions.CHANGES[2] in line
    assert revisions.CHANGES[1] not in line
    assert "iMAS" not in line
    # A change of one method concerns no other.
    assert revisions.warning(2, {}, {"method.name": "rcc"}) is None
    assert "the score of iMAS" in revisions.warning(2, {}, {"method.name": "imas"})
    line = revisions.warning(revisions.CURRENT, {"a.b": 1, "a.c": 2}, {"a.b": 1, "a.c": 3})
    assert line.endswith(
        "New fields have the values that reproduce the earlier behaviour: a.b = 1. "
        "New fields change the earlier behaviour: a.c = 3 (was 2)."
    )


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '[{"commit": "x"}]'])
def test_a_run_that_recorded_no_revision_has_the_first(tmp_path, content):
    if content is not None:
        (tmp_path / revisions.FILE).write_text(content)
    assert revisions.recorded(tmp_path) == 0


def test_the_way_back_is_written_as_flags(tmp_path):
    names, rates = ["sea", "sand"], [6, 12, 18]
    was = config(data={"names": names, "more": ["a b"]}, model={"rates": rates, "file": ""})
    Workdir.open(tmp_path, was).close()
    other = config(data={"names": [], "more": []}, model={"rates": [1], "file": "x"})
    with pytest.raises(ConfigError) as caught:
        Workdir.open(tmp_path, other)
    assert shlex.split(str(caught.value).splitlines()[-1]) == [
        "--config.data.more=('a b',)",
        "--config.data.names=sea,sand",
        "--config.model.file=",
        "--config.model.rates=6,12,18",
    ]


def test_more_steps_are_refused_with_a_way_to_go_on(tmp_path):
    folder = tmp_path / "a run"
    Workdir.open(folder, config(train={"num_steps": 60})).close()
    longer = config(train={"num_steps": 90})
    with pytest.raises(ConfigError, match="give another --workdir") as caught:
        Workdir.open(folder, longer)
    flag = shlex.split(str(caught.value).splitlines()[-1])
    assert flag == [f"--config.model.pretrained={folder}"]
    with pytest.raises(ConfigError) as caught:  # A mode that does not train.
        Workdir.open(folder, longer, read_only=True, way_out="Leave them out.")
    assert str(caught.value).endswith("Leave them out.")


def test_a_place_that_cannot_be_a_workdir(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(ConfigError, match=f"{tmp_path}/file is a file; name a new folder"):
            check_place(tmp_path / place)
    check_place(tmp_path / "new" / "below")
    assert not (tmp_path / "new").exists()
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("root may write anywhere")
        with pytest.raises(ConfigError, match=f"{tmp_path}: no permission to write to"):
            check_place(tmp_path / "new" / "below")
    finally:
        tmp_path.chmod(0o700)


def test_second_run_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from rcc_jax.workdir.folder import Workdir
        workdir = Workdir.open(sys.argv[1], {"seed": 0})
        print("open", flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "open\n"
            with pytest.raises(ConfigError, match=f"process {holder.pid}"):
                Workdir.open(tmp_path, {"seed": 0})
            Workdir.open(tmp_path, {"seed": 0}, read_only=True).close()
        finally:
            holder.send_signal(signal.SIGKILL)
    Workdir.open(tmp_path, {"seed": 0}).close()


def test_reading_alone_makes_nothing(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        Workdir.open(tmp_path / "absent", config(), read_only=True)
    Workdir.open(tmp_path, config(), read_only=True).close()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/run: cannot write there"):
        Workdir.open(tmp_path / "file" / "run", config())


def test_corrupt_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(ConfigError, match=r"config\.json: not a JSON object"):
        Workdir.open(tmp_path, config())
