"""Names of weights: what they stand for, and those that do not fit the network."""

import json

import pytest

from configs import common, demo, folder
from rcc_jax.config import checks, guess, named_weights, schema
from rcc_jax.config.named_weights import Place
from rcc_jax.errors import ConfigError


def model(**fields):
    made = common.get_config().model
    made.update({"backbone": "resnet50", "stem": "v1"} | fields)
    return made


@pytest.mark.parametrize(
    ("given", "backbone", "expected"),
    [
        ("hub:timm/resnet50.tv_in1k", "resnet50", Place("timm/resnet50.tv_in1k")),
        ("hub:a/b@v1.0", "resnet50", Place("a/b", "v1.0")),
        ("imagenet", "resnet101", Place("timm/resnet101.tv_in1k")),
        ("dinov2", "dinov2_small", Place("facebook/dinov2-small")),
        ("weights/imagenet", "resnet50", None),
        ("auto", "resnet50", None),
        ("", "resnet50", None),
    ],
)
def test_what_a_name_stands_for(given, backbone, expected):
    made = model(pretrained=given, backbone=backbone)
    assert named_weights.place(made) == expected
    assert named_weights.is_path(made) == (given == "weights/imagenet")
    assert list(named_weights.faults(made)) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"pretrained": "hub:resnet50"}, "'hub:resnet50' must be hub:OWNER/NAME, or"),
        ({"pretrained": "hub:a/b/c"}, "must be hub:OWNER/NAME"),
        ({"pretrained": "dinov2"}, "resnet50 has no weights of this name; use one of imagenet, "),
        (
            {"pretrained": "imagenet", "stem": "deep", "width": 8},
            "need --config.model.stem=v1 --config.model.width=64; set it",
        ),
        (
            {"pretrained": "hub:timm/resnet50.tv_in1k", "stem": "deep"},
            "these weights need --config.model.stem=v1;",
        ),
        (
            {"pretrained": "hub:timm/resnet101.tv_in1k"},
            "weights of resnet101, config.model.backbone = 'resnet50'; change one",
        ),
    ],
)
def test_names_that_do_not_fit(fields, expected):
    config = demo.get_config()
    config.model.update({"backbone": "resnet50", "stem": "v1", "width": 64} | fields)
    (message,) = checks.faults(config)
    assert message.startswith(f"config.model.pretrained = {fields['pretrained']!r}")
    assert expected in message


def test_the_usual_weights():
    assert named_weights.usual(model()) == (Place("timm/resnet50.tv_in1k"), "")
    place, reason = named_weights.usual(model(stem="deep"))
    assert (place, reason) == (None, "published ones need --config.model.stem=v1")
    # 'auto' never is a fault: there may be no weights for the network.
    assert list(named_weights.faults(model(pretrained="auto", stem="deep"))) == []


def test_every_backbone_has_names():
    nameless = set(schema.fields()["model.backbone"].choices) - named_weights.PUBLISHED.keys()
    assert nameless == {"resnet10"}
    place, reason = named_weights.usual(model(backbone="resnet10"))
    assert (place, reason) == (None, "none are known for resnet10")


def test_a_name_that_is_mistyped_is_no_file_either():
    config = common.get_config()
    config.model.pretrained = "imagnet"
    with pytest.raises(ConfigError, match="no such file.* one of imagenet, auto, hub:OWNER/NAME"):
        checks.check_start(config)
    config.model.pretrained = "hub:a/b"
    checks.check_start(config)  # Whether the hub has it is found out later.


def test_own_images_leave_the_weights_to_the_start(tmp_path):
    config = folder.get_config()
    assert config.model.pretrained == "auto"
    assert "model.pretrained" in guess.unset(config)
    # A run that was started with other ones keeps them; also one from before there was 'auto'.
    for value in ("", "hub:a/b"):
        recorded = {"data": {"root": ""}, "model": {"pretrained": value}}
        (tmp_path / "config.json").write_text(json.dumps(recorded))
        config.model.pretrained = "auto"
        guess.resolve_auto(config, tmp_path, log=lambda _: None)
        assert config.model.pretrained == value
