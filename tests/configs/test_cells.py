"""The cells of the paper: settings, docstrings that agree with the tables, sweeps that load."""

import importlib
import pathlib
import re

import pytest

from configs import cityscapes_1_16, common, pascal_1_16, pascal_blender_1_8, pascal_full
from rcc_jax import build
from rcc_jax.config import method_group
from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS
from rcc_jax.reporting import published, published_sources, run_results

FOLDER = pathlib.Path(common.__file__).parent
PAPER = ("pascal_", "cityscapes_")
CELLS = sorted(path.stem for path in FOLDER.glob("*_*.py") if path.stem.startswith(PAPER))


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
    # The methods' sources have one number per GPU, with one to four labelled images.
    fewer = dict.fromkeys(("cps", "mean_teacher", "u2pl", "class_balanced", "corrmatch"), 50_000)
    for name, kept in {**fewer, "augseg": 25_000, "imas": 100_000, "unimatch": 100_000}.items():
        assert built(cityscapes_1_16, name)[1].ohem_min_kept == kept, name
    for backbone, found in (("resnet50", (0.0, "confidence")), ("dinov2_small", (0.9, "none"))):
        _, method = built(cityscapes_1_16, f"prevmatch,backbone={backbone}")
        assert (method.snapshot_threshold, method.snapshot_weighting) == found
    assert built(cityscapes_1_16, "st")[1].labeled_loss == "ce"
    assert built(cityscapes_1_16, "stpp")[1].labeled_loss == "ce"
    assert built(cityscapes_1_16, "unimatch_v2")[1].confidence_threshold == 0.95
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
        is_frozen = "encoder frozen" in settings
        arguments = [f"backbone={backbone}"]
        arguments += [x.replace("EMA ", "ema=") for x in settings if x != "encoder frozen"]
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
            config.model.freeze_encoder = is_frozen
            if METHODS[name].stages:
                config.data.pseudo = "masks"
            build.check(config)
            assert run_results.method_name(method_group.resolved(config)) == method
            assert (config.data.name, config.data.partition) == (data, partition)
            assert config.model.backbone == backbone
            assert ("u2pl" in config.data.labeled) == ("lists=u2pl" in arguments)
            seen.add(name)
    assert seen >= {"stpp", "augseg", "imas", "daw", "unimatch_v2", "rcc"}


@pytest.mark.parametrize("name", ["pascal_1_16", "pascal_blender_1_8", "cityscapes_1_16"])
def test_a_transformer_has_no_stem(name):
    assert module(name).get_config("stem=v1").model.pretrained.endswith("resnet50_v1.pth")
    with pytest.raises(ConfigError, match="stem='v1' belongs to ResNets, not to backbone=dinov2"):
        module(name).get_config("backbone=dinov2_small,stem=v1")
    # The second network may have one.
    config = module(name).get_config(
        "method=co_training,backbone=dinov2_small,second=resnet50,stem=v1"
    )
    assert config.method.second_pretrained == "pretrained/resnet50_v1.pth"


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
