"""A run's first weights by name: decided once, recorded, and followed by every later start."""

import hashlib
import json
import pathlib
import signal

import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from huggingface_hub import constants

from configs import demo
from rcc_jax import build
from rcc_jax.config import named_weights
from rcc_jax.config.named_weights import Published
from rcc_jax.distributed.interruption import Interrupted
from rcc_jax.errors import ConfigError
from rcc_jax.models import dinov2, resnet_names, torch_names
from rcc_jax.training import first_weights, loop
from rcc_jax.training.run import Run
from tests.support import tiny_vit
from tests.support.local_hub import REVISION, stopped_in_a_download
from tests.support.weight_files import as_transformers, assert_same, official, published

TINY = {"model.width": 4, "model.decoder_channels": 8, "model.stem": "v1"}
BY_HAND = "put it at pretrained/net.safetensors, and give --config.model.pretrained=pretrained/net"


def tiny(pretrained, **fields):
    config = demo.get_config("method=supervised")
    fields = {name.replace("__", "."): value for name, value in fields.items()}
    config.update_from_flattened_dict({**TINY, "model.pretrained": pretrained, **fields})
    return config


@pytest.fixture(scope="module")
def state():
    """A backbone as torchvision and timm name it, with matrices in half precision."""
    return published(nnx.eval_shape(lambda: build.build_model(tiny(""), nnx.Rngs(0))))


@pytest.fixture(autouse=True)
def offered(hub, state, monkeypatch):
    hub.files["timm/net"] = safetensors.numpy.save(state)
    usual = {"imagenet": Published("timm/net", {"stem": "v1", "width": 4})}
    monkeypatch.setitem(named_weights.PUBLISHED, "resnet18", usual)


def find(config, workdir):
    said = []
    start = first_weights.find(config, workdir, said.append)
    workdir.mkdir(exist_ok=True)
    first_weights.record(start, workdir)
    return start, said


def test_a_frozen_encoder_is_never_random(tmp_path, monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(ConfigError, match=r"CI is set.*encoder would keep random ones"):
        find(tiny("auto", model__freeze_encoder=True), tmp_path)
    assert not (tmp_path / "pretrained.json").exists()


def recorded(workdir):
    return json.loads((workdir / "pretrained.json").read_text())


@pytest.mark.parametrize("given", ["hub:timm/net", "imagenet", "auto"])
def test_revision_and_hash_are_recorded(hub, tmp_path, given):
    start, _ = find(tiny(given), tmp_path)
    assert recorded(tmp_path) == {
        "given": given,
        "weights": "hub:timm/net",
        "revision": REVISION,
        "sha256": hashlib.sha256(hub.files["timm/net"]).hexdigest(),
    }
    assert pathlib.Path(start.path).read_bytes() == hub.files["timm/net"]


def test_a_run_starts_from_them(state, tmp_path):
    run, said = Run.build(tiny("imagenet")), []
    start, _ = find(run.config, tmp_path)
    run.check_start(start.paths)
    weights = run.initial_state(said.append, start.paths).weights
    assert "of the backbone (stem v1)" in said[0]
    assert "0 missing, 2 unused" in said[0]
    ours = torch_names.named_variables(run.network.module(weights))
    for name, value in state.items():
        if not name.startswith("fc.") and not name.endswith(resnet_names.COUNTER):
            loaded = np.asarray(ours[f"backbone.{name}"][...])
            assert loaded.dtype == np.float32
            np.testing.assert_array_equal(torch_names.to_torch_layout(loaded), value)


def test_a_second_network_has_first_weights_of_its_own(hub, state, tmp_path):
    fields = {"method.name": "co_training", "method.second_backbone": "resnet18"}
    config = tiny("", **fields, **{"model.backbone": "resnet34"})
    config.method.second_pretrained = "auto"
    start, _ = find(config, tmp_path)
    assert (start.path, config.method.second_pretrained) == ("", "hub:timm/net")
    of_second = recorded(tmp_path).pop("second")
    assert (of_second["given"], of_second["revision"]) == ("auto", REVISION)
    # A start before the first checkpoint follows it.
    (hub.cache / "models--timm--net" / "refs" / "main").write_text("f" * 40)
    again, _ = find(config, tmp_path)
    assert again.paths == start.paths
    assert recorded(tmp_path)["second"] == of_second
    model, said = nnx.eval_shape(lambda: build.build_model(config, nnx.Rngs(0))), []
    build.load_pretrained(config, model, said.append, start.paths)
    assert said[0].startswith("pretrained weights of the second network: 100 tensors")
    kernel = np.asarray(model.second.backbone.layer1[0].conv1.kernel[...])
    expected = state["layer1.0.conv1.weight"]
    np.testing.assert_array_equal(torch_names.to_torch_layout(kernel), expected)
    config.method.second_pretrained = "hub:timm/other"
    with pytest.raises(ConfigError, match="^config.method.second_pretrained = 'hub:timm/other': "):
        find(config, tmp_path)


def test_what_auto_has_led_to_stands_in_the_configuration(hub, tmp_path):
    config = tiny("auto")
    _, (downloading, guessed) = find(config, tmp_path)
    assert config.model.pretrained == "hub:timm/net"
    assert downloading.startswith(f"downloading {hub.address}")
    assert guessed == "guessed --config.model.pretrained=hub:timm/net (the usual weights)"


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ("offline", "HF_HUB_OFFLINE is set"),
        ("ci", "CI is set"),
        ("down", "answers 503"),
        ("deep", "published ones need --config.model.stem=v1"),
    ],
)
def test_auto_without_a_hub_is_random(hub, tmp_path, monkeypatch, cause, reason):
    config = tiny("auto")
    if cause == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif cause == "ci":
        monkeypatch.setenv("CI", "true")
    elif cause == "deep":
        config.model.stem = "deep"
    else:
        hub.status = 503
    start, (line,) = find(config, tmp_path)
    assert (start.path, config.model.pretrained) == ("", "")
    assert line.startswith("guessed --config.model.pretrained='' (random weights: ")
    assert reason in line
    assert (BY_HAND in line) == (cause != "deep")
    assert len(hub.asked) == (cause == "down")
    assert recorded(tmp_path)["weights"] == "random"
    assert reason in recorded(tmp_path)["reason"]


def test_a_damaged_file_in_the_cache_does_not_lead_to_random_weights(hub, tmp_path):
    start, _ = find(tiny("imagenet"), tmp_path / "first")
    pathlib.Path(start.path).write_bytes(b"damaged")
    config = tiny("auto")
    again, said = find(config, tmp_path / "second")
    assert config.model.pretrained == "hub:timm/net"
    assert pathlib.Path(again.path).read_bytes() == hub.files["timm/net"]
    assert "has been deleted; it is downloaded again" in said[0]


def test_sigterm_during_a_download_leaves_no_part_of_it(hub, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with stopped_in_a_download(hub), pytest.raises(Interrupted) as caught:
        loop.train(tiny("hub:timm/net"), str(tmp_path / "run"))
    assert caught.value.exit_code == 143
    assert str(caught.value) == "stopped before the first step; the same command starts again."
    assert signal.getsignal(signal.SIGTERM) == before
    assert hub.cached() == []
    assert not (tmp_path / "run").exists()


def test_dinov2_by_name(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(dinov2.SIZES, "dinov2_small", tiny_vit.SIZE)
    model = tiny_vit.build()
    state = as_transformers(official(model, tmp_path))
    hub.files["facebook/dinov2-small"] = safetensors.numpy.save(state)
    config = demo.get_config("method=supervised,backbone=dinov2_small")
    config.model.pretrained, config.model.freeze_encoder = "dinov2", True
    start, _ = find(config, tmp_path / "run")
    assert recorded(tmp_path / "run")["weights"] == "hub:facebook/dinov2-small"
    run = Run.build(config)
    run.check_start(start.paths)
    weights = run.initial_state(lambda _: None, start.paths).weights
    assert_same(run.network.module(weights), model, prefix="backbone.")


def test_a_start_that_was_killed_before_its_first_checkpoint(hub, tmp_path):
    """The next one takes the same revision, which need not be that of the branch any more."""
    first, _ = find(tiny("imagenet"), tmp_path)
    before, hub.status = recorded(tmp_path), 503
    (hub.cache / "models--timm--net" / "refs" / "main").write_text("f" * 40)
    again, said = find(tiny("imagenet"), tmp_path)
    assert (again.path, said, recorded(tmp_path)) == (first.path, [], before)
    # No other weights in their place, neither random ones.
    pathlib.Path(first.path).unlink()
    with pytest.raises(ConfigError, match=f"answers 503.*{REVISION}/model.safetensors by hand"):
        find(tiny("imagenet"), tmp_path)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("status", "answers 404: .* Fetch http.*/main/model.safetensors by hand"),
        ("nan", "layer1.0.conv1.weight has values that are not finite"),
        ("other", "the model is resnet18.* seems to be resnet34, .*; use the backbone 'resnet34'"),
        ("text", "cannot read weights from"),
    ],
)
def test_weights_that_cannot_be_used_leave_no_workdir(hub, state, tmp_path, fault, expected):
    changed = dict(state)
    if fault == "nan":
        changed["layer1.0.conv1.weight"] = np.full_like(state["layer1.0.conv1.weight"], np.nan)
    elif fault == "other":
        changed |= {
            name.replace(f"layer{stage}.1.", f"layer{stage}.{block}."): value
            for stage, blocks in enumerate((3, 4, 6, 3), start=1)
            for block in range(2, blocks)
            for name, value in state.items()
            if name.startswith(f"layer{stage}.1.")
        }
    hub.files["timm/net"] = b"text" if fault == "text" else safetensors.numpy.save(changed)
    hub.status = 404 if fault == "status" else None
    with pytest.raises(ConfigError, match=expected) as caught:
        loop.train(tiny("hub:timm/net"), str(tmp_path / "run"))
    message = str(caught.value)
    assert message.startswith("config.model.pretrained = 'hub:timm/net': ")
    assert "\n" not in message
    assert not (tmp_path / "run").exists()
