"""Every configuration file gives a configuration that works, once its data are there."""

import importlib
import json
import pathlib

import pytest

from configs import camvid, common, demo, folder, pascal_1_16, recorded
from input_pipeline import DataError
from rcc_jax import build
from rcc_jax.config import method_group
from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS

FILES = sorted(
    path.stem
    for path in pathlib.Path(common.__file__).parent.glob("*.py")
    if path.stem not in ("__init__", "common", "recorded", "pascal", "cityscapes")
)


def load(name, arguments=None):
    config = importlib.import_module(f"configs.{name}").get_config(arguments)
    if name == "folder":  # What is left to the data.
        config.data.unlabeled = "images"
        config.data.num_classes, config.data.crop_size, config.method.top_n = 5, 321, None
    return config


@pytest.mark.parametrize("name", FILES)
def test_every_file_works_with_every_method(name):
    for method in METHODS:
        config = load(name, f"method={method}")
        assert config.method.name == method
        if METHODS[method].stages:
            config.data.pseudo = "masks"
        if name == "folder" and method == "co_training":
            config.data.crop_size = 322
        build.check(config)


@pytest.mark.parametrize("name", FILES)
def test_files_change_known_fields_only(name):
    def fields(config):
        return {
            f"{group}.{field}"
            for group, values in config.to_dict().items()
            for field in (values if isinstance(values, dict) else [""])
        }

    assert fields(load(name)) == fields(common.get_config())


@pytest.mark.parametrize(
    ("name", "crop", "batch", "epochs", "labels"),
    [
        ("pascal_1_16", 518, 16, 60, 92),
        ("pascal_blender_1_4", 518, 16, 60, 2646),
        ("cityscapes_1_16", 798, 8, 180, 186),
    ],
)
def test_cells_of_transformers_have_the_recipe_of_unimatch_v2(name, crop, batch, epochs, labels):
    config = load(name, "method=unimatch_v2,backbone=dinov2_small")
    assert (config.data.crop_size, config.train.batch_size) == (crop, batch)
    assert (config.train.num_epochs, config.eval.every_steps) == (epochs, 0)
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.head_multiplier) == (
        "adamw", 5e-6, 40,
    )  # fmt: skip
    method = build.build_method(config)
    assert (method.confidence_threshold, method.ema_decay) == (0.95, 0.996)
    # The labels alone: V2's epochs of 3,000 labelled images, in batches of twice as many.
    alone = load(name, "method=supervised,backbone=dinov2_small")
    assert alone.eval.every_steps == 3000 // (2 * batch)
    steps = alone.train.num_epochs * (labels // (2 * batch))
    assert steps == pytest.approx(epochs * alone.eval.every_steps, rel=0.01)
    # A ResNet's cells keep UniMatch's.
    assert load(name, "method=supervised").eval.every_steps == 0


def test_arguments_choose_partition_backbone_and_seed():
    config = camvid.get_config("1_4,method=unimatch,backbone=resnet18,seed=3")
    assert config.data.labeled == "splits/1_4/labeled.txt"
    assert config.data.unlabeled == "splits/1_4/unlabeled.txt"
    assert (config.method.name, config.model.backbone, config.seed) == ("unimatch", "resnet18", 3)
    assert camvid.get_config("partition=1_2").data.labeled == "splits/1_2/labeled.txt"
    assert pascal_1_16.get_config("backbone=resnet101").model.pretrained.endswith(
        "resnet101_deep.pth"
    )


@pytest.mark.parametrize(
    ("get_config", "arguments", "hint"),
    [
        (demo.get_config, "methd=rcc", "did you mean 'method'?"),
        (demo.get_config, "zzz=1", "Known are method=..., steps=..."),
        (demo.get_config, "seed=x", "seed=0"),
        (folder.get_config, "steps=1", "method=..., backbone=..."),
        (camvid.get_config, "1_3", "1_16, 1_8, 1_4, 1_2"),
        (camvid.get_config, "1_8,rcc", "method=..."),
    ],
)
def test_unknown_arguments_are_refused_with_a_hint(get_config, arguments, hint):
    with pytest.raises(ConfigError) as caught:
        get_config(arguments)
    assert arguments.split(",")[-1] in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize("get_config", [demo.get_config, folder.get_config])
def test_settings_of_a_method_are_arguments(get_config):
    config = get_config("method=daw,consensus=rank,tau=0.5,seed=3")
    assert (config.method.name, config.method.consensus, config.seed) == ("daw", "rank", 3)
    assert config.method.temperature == 0.5
    with pytest.raises(ConfigError, match="no effect with config.method.consensus = 'none'"):
        get_config("method=daw,tau=0.5")


@pytest.mark.parametrize("name", ["unimtch", "RCC"])
def test_unknown_method_is_refused_with_the_known_ones(name):
    with pytest.raises(ConfigError, match=f"config.method.name = '{name}'.*unimatch_v2, cc, rcc"):
        build.check(demo.get_config(f"method={name}"))


def test_absent_data_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = pascal_1_16.get_config()
    said = f"data.root: no folder {tmp_path}/data/pascal. Prepare .*input_pipeline.prepare"
    with pytest.raises(DataError, match=said):
        build.open_partition(config)
    (tmp_path / "data" / "pascal").mkdir(parents=True)
    with pytest.raises(DataError, match=f"data.root = .*{tmp_path}/data/pascal"):
        build.open_partition(config)


def test_pascal_says_which_weights_are_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match="config.model.pretrained = 'pretrained/resnet50_deep.pth'"
    ):
        build.check_pretrained(pascal_1_16.get_config())


@pytest.mark.parametrize(
    ("partition", "labeled"), [("1_16", 23), ("1_8", 46), ("1_4", 92), ("1_2", 184)]
)
def test_camvid_partitions_have_the_sizes_that_the_file_says(shared_data, partition, labeled):
    config = camvid.get_config(partition)
    config.data.root = str(shared_data / "camvid")
    opened = build.open_partition(config)
    sizes = len(opened.labeled), len(opened.unlabeled), len(opened.val)
    assert sizes == (labeled, 367 - labeled, 101)


def test_recorded_configuration_comes_back_as_it_was(tmp_path):
    config = demo.get_config("method=cc")
    config.train.batch_size = 4
    (tmp_path / "config.json").write_text(json.dumps(method_group.resolved(config)))
    again = recorded.get_config(str(tmp_path))
    assert method_group.resolved(again) == method_group.resolved(config)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("{", "JSON"),
        ('{"data": {"rot": "x"}}', '"rot" does not exist'),
        ('{"seed": "x"}', "seed"),
        ("[]", "not a JSON object"),
    ],
)
def test_damaged_record_is_named(tmp_path, content, said):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=f"{tmp_path}/config.json: .*{said}") as caught:
        recorded.get_config(str(tmp_path))
    assert len(str(caught.value)) < len(str(tmp_path)) + 200
