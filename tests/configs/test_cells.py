"""The cells of the paper: settings, docstrings that agree with the tables, sweeps that load."""

import importlib
import pathlib
import re

import pytest

from configs import cityscapes_1_16, common, pascal_1_16, pascal_blender_1_8, pascal_full
from rcc_jax import build
from rcc_jax.commands import sweep
from rcc_jax.config import method_group
from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS
from rcc_jax.reporting import published, published_sources, run_results

FOLDER = pathlib.Path(common.__file__).parent
PAPER = ("pascal_", "cityscapes_")
CELLS = sorted(path.stem for path in FOLDER.glob("*_*.py") if path.stem.startswith(PAPER))
SWEEPS = {
    "components": 5,
    "pascal_classic": 5 * 4,
    "pascal_blender": 3 * 4,
    "cityscapes": 4 * 4,
    "ablations": 11 + 3,
    "camvid": 5 + 2 * 5 + 14,
    "one_change": 1 + 3 + 9,
    "all_methods": len(METHODS) - 2,
}


def module(name):
    return importlib.import_module(f"configs.{name}")


def test_every_partition_of_the_paper_has_a_file():
    found = {(c.data.name, c.data.partition) for c in (module(n).get_config() for n in CELLS)}
    wanted = {
        (name, partition)
        for (name, _), methods in published.PAPER.items()
        for partition in methods["rcc"]
    }
    assert found == wanted


@pytest.mark.parametrize("name", CELLS)
def test_docstring_holds_the_numbers_of_the_paper(name):
    data = module(name).get_config().data
    text = module(name).__doc__
    assert f"configs/{name}.py:" in text
    assert "not run" in text
    for title, backbone in (("ResNet-50", "resnet50"), ("ResNet-101", "resnet101")):
        row = re.search(rf"{title} +([\d. ]+)\n", text).group(1)
        paper = published.PAPER[data.name, backbone]
        expected = [paper[m][data.partition] for m in ("supervised", "fixmatch", "unimatch", "rcc")]
        assert [float(number) for number in row.split()] == expected
    if data.name == "pascal_classic":  # The other sources have one home.
        assert "rcc_jax/reporting/published.py" in text


def test_settings_of_the_papers():
    pascal = pascal_1_16.get_config("backbone=resnet101,method=cc,kind=kl,top_n=5,weight=0.5")
    assert (pascal.data.crop_size, pascal.train.num_epochs, pascal.train.batch_size) == (513, 80, 8)
    assert pascal.data.labeled == "data/splits/pascal/92/labeled.txt"
    assert build.build_method(pascal).confidence_threshold == 0.95
    assert (pascal.optimizer.learning_rate, pascal.optimizer.head_multiplier) == (0.001, 10)
    method = build.build_method(pascal)
    assert (method.consensus, method.top_n, method.consensus_weight) == ("kl", 5, 0.5)
    assert pascal_full.get_config().data.labeled == "data/splits/pascal/1464/labeled.txt"
    blender = pascal_blender_1_8.get_config("lists=u2pl,stem=v1")
    assert blender.data.labeled == "data/splits/pascal/u2pl_1_8/labeled.txt"
    assert blender.model.pretrained == "pretrained/resnet50_v1.pth"

    city = cityscapes_1_16.get_config()
    assert (city.data.crop_size, city.train.num_epochs, city.data.num_classes) == (801, 240, 19)
    assert (city.optimizer.learning_rate, city.optimizer.head_multiplier) == (0.005, 1)
    assert (city.method.confidence_threshold, city.method.labeled_loss) == (0, "ohem")
    recipe = build.build_method(city)
    assert (recipe.ohem_threshold, recipe.ohem_min_kept) == (0.7, 100_000)
    assert cityscapes_1_16.get_config("method=u2pl").method.warm_up_epochs == 0
    baseline = cityscapes_1_16.get_config("method=supervised")
    assert (baseline.method.labeled_loss, baseline.method.ohem_min_kept) == ("ohem", 50_000)
    assert (city.eval.mode, city.eval.window, city.eval.stride) == ("sliding", 801, 534)
    assert (city.eval.windows, pascal.eval.windows) == ("cut", "shifted")


def test_values_of_a_method_s_own_source():
    def built(cell, arguments):
        config = cell.get_config(f"method={arguments}")
        return config, build.build_method(config)

    for cell, arguments, weight in (
        (pascal_1_16, "cps", 1.0),
        (pascal_1_16, "cps,cutmix=off", 1.5),
        (pascal_blender_1_8, "cps,cutmix=off", 1.5),
        (cityscapes_1_16, "cps", 5.0),
        (cityscapes_1_16, "cps,cutmix=off", 6.0),
    ):
        config, method = built(cell, arguments)
        assert method.cross_weight == weight
        name = "cps, CutMix off" if "off" in arguments else "cps"
        assert run_results.method_name(method_group.resolved(config)) == name
        _, method = built(cell, f"{arguments},cross=3")
        assert method.cross_weight == 3
    assert built(cityscapes_1_16, "cps")[1].ohem_min_kept == 50_000
    assert built(cityscapes_1_16, "imas")[1].ohem_min_kept == 100_000
    decays = {
        (cell, name): built(cell, name)[1].ema_decay
        for cell in (pascal_1_16, cityscapes_1_16)
        for name in ("augseg", "imas")
    }
    assert decays == {
        (pascal_1_16, "augseg"): 0.999,
        (cityscapes_1_16, "augseg"): 0.996,
        (pascal_1_16, "imas"): 0.996,
        (cityscapes_1_16, "imas"): 0.996,
    }


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


def published_rows():
    """Every published row whose method has a file: data set, backbone, method, marks, cells."""
    for source in published_sources.SOURCES:
        for (data, backbone), methods in source.numbers.items():
            for method, values in methods.items():
                if method.split(",")[0] in METHODS:
                    yield data, backbone, method, source.marks_of(data, method), tuple(values)


def test_every_published_row_of_a_method_here_is_one_command():
    files = {(c.data.name, c.data.partition): n for n in CELLS for c in [module(n).get_config()]}
    seen = set()
    for data, backbone, method, marks, partitions in published_rows():
        name, *settings = method.split(", ")
        if name in ("cc", "rcc") and settings:
            continue  # `test_ablations_are_those_of_the_paper`
        arguments = [f"backbone={backbone}", *(each.replace("EMA ", "ema=") for each in settings)]
        if marks.lists == published_sources.U2PL_LISTS and data == "pascal_blender":
            arguments.append("lists=u2pl")
        for partition in partitions:
            file, cell = files[data, partition], ",".join(arguments)
            if stages := METHODS[name].stages:
                listing = module(f"sweeps.{pathlib.Path(stages).stem}")
                (*_, last) = listing.get_config(f"{file},{cell},method={name}").runs
                cell = last.config.partition(":")[2]
            else:
                cell += f",method={name}"
            config = module(file).get_config(cell)
            if METHODS[name].stages:
                config.data.pseudo = "masks"
            build.check(config)
            assert run_results.method_name(method_group.resolved(config)) == method
            assert (config.data.name, config.data.partition) == (data, partition)
            assert config.model.backbone == backbone
            assert ("u2pl" in config.data.labeled) == ("lists=u2pl" in arguments)
            seen.add(name)
    assert seen >= {"stpp", "augseg", "imas", "daw", "unimatch_v2", "rcc"}


def test_every_published_row_says_what_it_depends_on():
    for source in published_sources.SOURCES:
        for (data, backbone), methods in source.numbers.items():
            for method in methods:
                marks = source.marks_of(data, method)
                if source.title != "paper":
                    # What readers of a log or a README know.
                    assert marks.epoch in ("best", "last"), (source.title, method)
                    assert (marks.stride in (8, 16)) == backbone.startswith("resnet"), method
        unused = {key if isinstance(key, str) else key[1] for key in source.others} - {
            method for methods in source.numbers.values() for method in methods
        }
        assert not unused, source.title


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
    assert st[0].flags == ("--config.train.num_epochs=9",)
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
