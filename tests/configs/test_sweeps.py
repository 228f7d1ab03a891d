"""Lists of runs: the tables of the paper and the studies, all of whose runs load."""

import importlib
import pathlib
import re

import pytest

from rcc_jax import build
from rcc_jax.commands import sweep
from rcc_jax.config import method_group
from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS
from rcc_jax.reporting import published, run_results

SWEEPS = {
    "components": 5,
    "pascal_classic": 5 * 4,
    "pascal_blender": 3 * 4,
    "cityscapes": 4 * 4,
    "ablations": 11 + 3,
    "camvid": 5 + 2 * 5 + 14,
    "one_change": 3 + 3 + 10,
    "all_methods": len(METHODS) - 2,
}


def module(name):
    return importlib.import_module(f"configs.{name}")


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps_list_runs_that_load(name):
    runs = module(f"sweeps.{name}").get_config("seeds=2").runs
    assert len(runs) == 2 * SWEEPS[name]
    assert len(sweep.plan(runs, "runs")) == len(runs)
    seen = set()
    for run in runs:
        file, _, arguments = run.partition(":")
        config = module(pathlib.Path(file).stem).get_config(arguments)
        build.check(config)
        seen.add(
            (
                config.data.partition,
                run_results.method_name(method_group.resolved(config)),
                config.seed,
            )
        )
    assert len(seen) == len(runs)


def test_every_method_of_the_comparison_loads_with_dinov2_too():
    for run in module("sweeps.all_methods").get_config("network=dinov2_small").runs:
        build.check(module("msrc").get_config(run.partition(":")[2]))


def methods_of(runs):
    return [re.search("method=([a-z0-9_]+)", run)[1] for run in runs]


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101"])
@pytest.mark.parametrize(("table", "partitions"), [("pascal_blender", 3), ("cityscapes", 4)])
def test_a_sweep_lists_every_row_of_a_table_that_is_one_run(table, partitions, backbone):
    found = methods_of(
        module(f"sweeps.{table}").get_config(f"backbone={backbone},methods=paper").runs
    )
    rows = {name for name in published.PAPER[table, backbone] if name in METHODS}
    assert set(found) == rows - {"st", "stpp"}
    assert len(found) == partitions * len(set(found))


def test_methods_of_a_table_can_be_named():
    sweep_of = module("sweeps.pascal_classic").get_config
    assert methods_of(sweep_of("methods=daw+rcc").runs) == ["daw", "rcc"] * 5
    assert set(methods_of(sweep_of("methods=all").runs)) == set(METHODS) - {"st", "stpp"}
    # Rows of one partition belong to the ablations.
    assert "unimatch_u2pl" not in methods_of(sweep_of("methods=paper").runs)
    for given, said in (
        ("methods=stpp+rcc", "several runs; use configs/sweeps/stpp.py"),
        ("methods=dwa", "methods='dwa' is not known"),
        ("methods=paper,backbone=dinov2_small", "no pascal_classic with dinov2_small"),
    ):
        with pytest.raises(ConfigError, match=said):
            sweep_of(given)


def test_ablations_are_those_of_the_paper():
    labels = set()
    for run in module("sweeps.ablations").get_config().runs:
        file, _, arguments = run.partition(":")
        config = module(pathlib.Path(file).stem).get_config(arguments)
        labels.add((run_results.method_name(method_group.resolved(config)), config.data.partition))
    paper = published.PAPER["pascal_classic", "resnet50"]
    wanted = {
        (method, partition)
        for method, values in paper.items()
        for partition in values
        if partition in ("92", "1464")
        and (method == "unimatch" or method.split(",")[0] in ("cc", "rcc"))
    }
    assert labels == wanted
    camvid = module("sweeps.ablations").get_config("data=camvid").runs
    assert len(camvid) == 11
    assert all("camvid.py:1_8" in run for run in camvid)


def test_study_on_camvid_starts_with_what_tells_most_and_trains_all_alike():
    def load(arguments):
        runs = module("sweeps.camvid").get_config(arguments).runs
        return [module("camvid").get_config(run.partition(":")[2]) for run in runs]

    whole = load("steps=50")
    keys = [(config.data.partition, config.seed) for config in whole]
    assert keys[:15] == [("1_8", seed) for seed in (0, 1, 2) for _ in range(5)]
    assert {partition for partition, _ in keys[15:45]} == {"1_16", "1_4"}
    assert [c.method.name for c in whole[:5]] == [
        "supervised", "fixmatch", "unimatch", "cc", "rcc"
    ]  # fmt: skip
    assert [load(f"part={part},steps=50") for part in ("main", "1_16", "1_4", "ablations")] == [
        whole[:15],
        whole[15:30],
        whole[30:45],
        whole[45:],
    ]
    for size in ("gpu", "cpu"):
        first, *others = load(f"size={size},steps=50,seeds=1")
        for config in others:
            for group in ("model", "optimizer", "train", "eval"):
                assert config[group] == first[group]
    names = {run_results.method_name(method_group.resolved(config)) for config in whole[45:]}
    assert {"cc, kl", "rcc, N = 6", "rcc, tau = 0.3", "rcc, probabilities"} < names
    assert {"rcc, confident pixels", "rcc, EMA 0.996"} < names


def test_self_training_is_a_chain_of_stages_a_seed():
    runs = module("sweeps.stpp").get_config("camvid,1_4,size=cpu,seeds=2").runs
    assert [stage.name for stage in runs] == [
        f"{name},seed={seed}"
        for seed in (0, 1)
        for name in ("1-labels", "2-masks", "3-reliable", "4-masks", "5-all")
    ]
    plan = sweep.plan(runs, "runs/x")
    assert [run.after and run.after.name for run in plan[:5]] == [
        None, *(stage.name for stage in runs[:4])
    ]  # fmt: skip
    configs = [
        module("camvid").get_config(stage.config.partition(":")[2])
        for stage in runs
        if stage.config
    ]
    assert [c.method.name for c in configs] == 2 * ["supervised", "stpp", "stpp"]
    assert [c.method.images for c in configs[:3]] == [None, "reliable", None]
    assert {c.data.partition for c in configs} == {"1_4"}
    assert [c.seed for c in configs] == [0] * 3 + [1] * 3
    for config, run in zip(configs[1:3], (plan[2], plan[4]), strict=True):
        assert run.flags == ("--config.data.pseudo=runs/x/2-masks,seed=0",)
        config.data.pseudo = "x"
        build.check(config)
    names = [run_results.method_name(method_group.resolved(config)) for config in configs[:3]]
    assert names == ["supervised, same steps", "stpp, reliable", "stpp"]

    st = module("sweeps.stpp").get_config("demo,method=st,seed=4,checkpoint=best,epochs=9").runs
    assert [stage.name for stage in st] == ["1-labels,seed=4", "2-masks,seed=4", "3-all,seed=4"]
    assert st[0].flags == ("--config.train.num_steps=0", "--config.train.num_epochs=9")
    assert {"--part=all", "--checkpoint=best", "--config.eval.flip=true"} < set(st[1].flags)
    assert module("sweeps.stpp").get_config().runs[0].config == (
        "configs/pascal_1_16.py:seed=0,method=supervised"
    )


def test_faulty_arguments_of_sweeps_are_named():
    for given, said in (
        ("dmo", "no such file"),
        ("demo,step=9", "argument 'step=9' is not known"),
        ("demo,method=rcc", "method='rcc' is not known; use one of st, stpp"),
        ("demo,checkpoint=first", "checkpoint='first' is not known"),
        ("demo,seeds=0", "seeds=0 must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            module("sweeps.stpp").get_config(given)
    with pytest.raises(ConfigError, match="seeds=0"):
        module("sweeps.components").get_config("seeds=0")
    with pytest.raises(ConfigError, match="data='voc'"):
        module("sweeps.ablations").get_config("data=voc")
