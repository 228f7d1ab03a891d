"""Bad settings end a run before its first step, with the field, the value and a way out."""

import pytest

from configs import cityscapes_1_16, common, folder
from rcc_jax import build, models
from rcc_jax.config import checks, method_group, schema
from rcc_jax.errors import ConfigError
from rcc_jax.training import loop
from tests.support.small_configs import changed, message, tiny


def test_choices_are_those_of_the_network():
    fields = schema.fields()
    assert set(fields["model.backbone"].choices) == set(models.BACKBONES)
    assert set(fields["model.stem"].choices) == set(models.STEMS)


REFUSED = {
    "data.source": ("zip", "folder, tfds, scenes"),
    "data.crop_size": (0, "from 1 to 10000"),
    "data.num_classes": (1, "from 2 to 255"),
    "data.num_threads": (0, "at least 1"),
    "data.class_names": (("a", "b", "a"), "'a' twice"),
    "data.on_error": ("ignore", "stop, skip"),
    "data.max_bad": (-1, "at least 0"),
    "data.cutmix_partner": ("own", "other, same"),
    "train.on_nonfinite": ("go on", "stop, skip"),
    "train.max_nonfinite": (0, "at least 1"),
    "model.backbone": ("resnet51", "resnet50"),
    "model.stem": ("v2", "deep, v1"),
    "model.output_stride": (32, "8, 16"),
    "model.dtype": ("float16", "bfloat16"),
    "model.aspp_rates": ((6, 12), "three"),
    "method.name": ("rrc", "rcc"),
    "method.labeled_loss": ("focal", "ohem"),
    "method.consensus_input": ("softmax", "probabilities"),
    "method.consensus_pixels": ("all", "valid, confident, agreeing"),
    "method.consensus_pairs": ("first", "all, top"),
    "method.consensus_weight": (-0.1, "at least 0"),
    "method.temperature": (0.0, "above 0"),
    "method.confidence_threshold": (1.5, "from 0 to 1"),
    "method.ema_decay": (1.0, "below 1"),
    "optimizer.learning_rate": (0.0, "above 0"),
    "optimizer.momentum": (1.0, "below 1"),
    "optimizer.weight_decay": (float("nan"), "at least 0"),
    "model.decoder_channels": (5, "at least 6"),
    "train.batch_size": (0, "at least 1"),
    "train.num_steps": (-1, "at least 0"),
    "train.accumulation": (0, "at least 1"),
    "eval.mode": ("crops", "whole, sliding"),
    "eval.windows": ("moved", "cut, shifted"),
    "checkpoint.keep": (0, "at least 1"),
}


@pytest.mark.parametrize("field", REFUSED)
def test_a_value_that_cannot_work_is_named_with_what_can(field):
    value, remedy = REFUSED[field]
    text = message(ConfigError, build.check, tiny(**{field: value}))
    assert f"config.{field} = {value!r}" in text
    assert remedy in text


def test_one_error_holds_every_fault_a_line_each():
    fields = {field: value for field, (value, _) in REFUSED.items()} | {
        # What is wrong together with another field needs that one to be known.
        "method.name": "rcc", "method.consensus": "l2", "method.top_n": 9,
        "eval.mode": "sliding", "eval.window": 10, "eval.stride": 11, "eval.scales": (1.0, 5.0),
        "train.num_steps": 0, "train.num_epochs": 0,
    }  # fmt: skip
    lines = message(ConfigError, build.check, tiny(**fields)).splitlines()
    named = sorted(line.split(" = ")[0].removeprefix("config.") for line in lines)
    right = {"method.name", "eval.mode", "eval.window", "train.num_epochs"}
    too_many = "data.class_names has 3 names, config.data.num_classes"
    assert named == sorted([*(fields.keys() - right), too_many])


def test_mask_ids_leave_room_for_255():
    text = message(ConfigError, build.check, tiny(data__num_classes=256))
    assert "config.data.num_classes = 256" in text
    assert "from 2 to 255" in text


def test_sliding_windows_must_touch():
    text = message(
        ConfigError,
        build.check,
        tiny(eval__mode="sliding", eval__window=100, eval__stride=101),
    )
    assert "config.eval.stride = 101" in text
    assert "config.eval.window = 100" in text


@pytest.mark.parametrize(
    ("name", "kind", "remedy"), [("rcc", "l2", "rank"), ("cc", "rank", "l2, ce, kl")]
)
def test_consensus_must_fit_the_method(name, kind, remedy):
    config = tiny(method__name=name, method__consensus=kind)
    text = message(ConfigError, build.check, config)
    assert f"config.method.consensus = {kind!r}" in text
    assert remedy in text


@pytest.mark.parametrize(
    ("name", "kind", "consensus"), [("rcc", None, "rank"), ("cc", None, "l2"), ("cc", "kl", "kl")]
)
def test_consensus_by_method(name, kind, consensus):
    config = tiny(method__name=name, method__consensus=kind)
    assert build.build_method(config).consensus == consensus


def test_two_classes_have_no_consensus_but_other_methods():
    config = tiny(data__num_classes=2, data__class_names=())
    text = message(ConfigError, build.check, config)
    assert "config.data.num_classes = 2" in text
    assert "config.method.name=unimatch" in text
    config.method.name = "unimatch"
    build.check(config)


@pytest.mark.parametrize(("top_n", "fits"), [(2, False), (3, True), (7, True), (8, False)])
def test_players_must_fit_the_seven_classes(top_n, fits):
    config = tiny(method__top_n=top_n)
    if fits:
        build.check(config)
    else:
        text = message(ConfigError, build.check, config)
        assert f"config.method.top_n = {top_n} must be from 3 to 7" in text


def test_semi_supervised_needs_unlabelled_images_and_supervised_does_not():
    config = tiny(data__unlabeled="")
    text = message(ConfigError, build.check, config)
    assert "config.method.name = 'rcc'" in text
    assert "config.data.unlabeled" in text
    assert "config.method.name=supervised" in text
    for source in ("folder", "tfds"):  # Unlabelled is then what else there is.
        build.check(tiny(data__unlabeled="", data__source=source, data__train="train.txt"))
    build.check(tiny(data__unlabeled="", data__source="tfds"))
    config.method.name = "supervised"
    build.check(config)


def test_number_of_steps_wins_over_epochs():
    config = tiny(train__num_steps=0, train__num_epochs=3, train__batch_size=2)
    partition = build.open_partition(config)
    assert build.num_steps(config, partition) == (12, 4)
    config.train.num_steps = 5
    assert build.num_steps(config, partition) == (5, 4)
    config.train.num_steps = config.train.num_epochs = 0
    text = message(ConfigError, build.check, config)
    assert "config.train.num_steps = 0 and config.train.num_epochs = 0" in text


def test_an_epoch_of_supervised_training_counts_the_labelled_images():
    config = tiny(method__name="supervised", train__batch_size=2, train__num_steps=0)
    config.train.num_epochs = 3
    assert build.num_steps(config, build.open_partition(config)) == (6, 2)


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        ({"train__batch_size": 12}, "8 devices"),
        ({"train__batch_size": 16, "train__accumulation": 3}, "train.accumulation=2"),
    ],
)
def test_batch_must_split_over_devices_and_accumulation(tmp_path, fields, remedy):
    workdir = tmp_path / "run"
    text = message(ConfigError, loop.train, tiny(**fields), str(workdir))
    assert f"config.train.batch_size={fields['train__batch_size']}" in text
    assert remedy in text
    assert not workdir.exists()


def test_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    text = message(ConfigError, loop.train, tiny(), str(tmp_path / "file" / "run"))
    assert f"--workdir={tmp_path}/file/run" in text
    assert "cannot write" in text


def test_weights_file_that_is_missing_leaves_no_workdir(tmp_path):
    workdir, path = tmp_path / "run", str(tmp_path / "absent.npz")
    text = message(ConfigError, loop.train, tiny(model__pretrained=path), str(workdir))
    assert "config.model.pretrained" in text
    assert path in text
    assert not workdir.exists()


def test_partial_weights_need_leave_for_what_they_lack(shared_data):
    path = shared_data / "backbones" / "resnet50_imagenet_stages1-4.npz"
    config = changed(
        common.get_config(),
        {"model.pretrained": str(path), "model.stem": "v1", "model.decoder_channels": 16},
    )
    text = message(ConfigError, build.check_pretrained, config)
    assert "config.model.pretrained" in text
    assert "layer4" in text
    assert "allow_missing" in text
    config.model.allow_missing = "layer4"
    build.check_pretrained(config)
    config.model.stem = "deep"
    assert "stem" in message(ConfigError, build.check_pretrained, config)


def test_a_length_in_epochs_that_has_no_effect_is_refused():
    config = tiny()
    given = "config.train.num_epochs=80 has no effect with config.train.num_steps"
    assert given in message(ConfigError, checks.check_given, config, ["train.num_epochs"])
    checks.check_given(config, ["train.num_epochs", "train.num_steps"])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("eval.window", 65, "config.eval.mode = 'whole'; leave it out, or set --config.eval.mode"),
        ("data.max_bad", 5, "--config.data.on_error to skip"),
        ("train.max_nonfinite", 2, "--config.train.on_nonfinite to skip"),
        ("data.root", "photos", "config.data.source = 'scenes'"),
        ("data.cutmix_partner", "same", "supervised pastes no boxes of other images"),
    ],
)
def test_a_field_without_effect_is_named(field, value, said):
    config = tiny(method__name="supervised" if field == "data.cutmix_partner" else "unimatch")
    config.update_from_flattened_dict({field: value})
    (line,) = checks.idle(config, [field])
    assert said in line
    assert list(checks.idle(config, [])) == []


def test_parts_of_a_batch_that_are_too_small_are_refused():
    config = tiny(method__name="augseg", train__batch_size=4, train__accumulation=4)
    text = message(ConfigError, checks.check_start, config)
    assert "config.train.batch_size = 4 / 4 parts: augseg mixes unlabelled" in text
    assert "at least 2 at a time" in text
    config.train.accumulation = 2
    checks.check_start(config)
    config.train.update(batch_size=1, accumulation=1)
    assert "batch_size = 1: augseg" in message(ConfigError, checks.check_start, config)


def test_settings_that_repeat_others_are_refused():
    config = tiny(method__name="unimatch", method__consensus="rank", method__pseudo_labels="soft")
    config.method.consensus_pixels = "confident"
    assert "the same as 'valid'" in message(ConfigError, checks.check_start, config)
    checks.check(config)  # An earlier version may have trained it.
    config.method.name = "u2pl"  # It leaves out pixels of soft labels, too.
    checks.check_start(config)
    assert "below 4294967296" in message(ConfigError, checks.check_start, tiny(seed=2**32))


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("prevmatch", {"confidence_threshold": 0.95, "snapshot_threshold": 0.9}),
        ("imas", {"confidence_threshold": 0.7}),
        ("unimatch_v2", {"confidence_threshold": 0.95}),
    ],
)
def test_thresholds_on_cityscapes_with_a_transformer(method, fields):
    config = cityscapes_1_16.get_config(f"method={method},backbone=dinov2_small")
    values = method_group.values(config)
    assert {name: values[name] for name in fields} == fields


def test_a_transformer_with_a_resnets_recipe_is_refused():
    config = folder.get_config()
    config.model.backbone = "dinov2_small"
    text = message(ConfigError, checks.check_given, config, ["model.backbone"])
    assert "keeps a ResNet's optimizer, crop and weights" in text
    assert "Write --config=FILE:backbone=dinov2_small instead" in text
    checks.check_given(config, ["model.backbone", "optimizer.name"])
    checks.check_given(config, [])  # A file of the user's own.
    config = folder.get_config("backbone=dinov2_small")
    config.model.backbone = "dinov2_base"
    checks.check_given(config, ["model.backbone"])


def test_a_method_without_its_recipe_is_refused():
    config = cityscapes_1_16.get_config()
    config.method.name = "imas"
    text = message(ConfigError, checks.check_given, config, ["method.name"])
    assert "leaves config.method.confidence_threshold = 0.0, but cityscapes has 0.7" in text
    assert "Use the argument method=imas" in text
    config.method.confidence_threshold = 0.5
    checks.check_given(config, ["method.name", "method.confidence_threshold"])
    checks.check_given(cityscapes_1_16.get_config("method=imas"), [])
