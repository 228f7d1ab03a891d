"""A tiny vision transformer is trained and evaluated; fields that do not fit it are refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import demo, folder
from rcc_jax.config import checks, recorded
from rcc_jax.errors import ConfigError
from rcc_jax.models import dinov2
from rcc_jax.models.dinov2_dpt import DinoV2DPT
from rcc_jax.models.pretrained import save_torch
from rcc_jax.segmenter import Segmenter
from rcc_jax.training import loop
from rcc_jax.training.run import Run
from tests.support import untrained
from tests.support.runs import metrics
from tests.support.steps import Setup, make_method
from tests.support.tiny_vit import SIZE


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Configuration and folder of a run of two steps."""
    patch = pytest.MonkeyPatch()
    patch.setitem(dinov2.SIZES, "dinov2_small", SIZE)
    config = demo.get_config("method=unimatch_v2,backbone=dinov2_small,steps=2")
    config.update_from_flattened_dict(
        {
            "data.crop_size": 28,
            "data.val": "100000:100004",
            "model.pretrained": "",
            "train.log_every": 1,
            "train.compilation_cache": "",
            "eval.every_steps": 2,
            "eval.pictures": 1,
        }
    )
    workdir = tmp_path_factory.mktemp("transformer")
    loop.train(config, str(workdir))
    yield config, workdir
    patch.undo()


@pytest.mark.slow
def test_a_run_is_trained_and_evaluated_at_multiples_of_a_patch(trained):
    _, workdir = trained
    lines = metrics(workdir)
    assert [line["step"] for line in lines] == [1, 2, 2]
    assert all(np.isfinite(line["loss"]) for line in lines[:2])
    # Scenes of 96 pixels are seen at 98.
    assert lines[-1]["miou_ema"] >= 0
    assert (workdir / "pictures" / "step_0000002.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rcc", "cc", "unimatch"])
def test_methods_of_unimatch_train_a_head_on_a_frozen_encoder(trained, tmp_path, method):
    # `trained` makes the transformer tiny.
    before = Segmenter(*trained)
    network = Run.build(trained[0]).network
    save_torch(network.module(before.weights), tmp_path / "weights.npz")
    config = demo.get_config(f"method={method},backbone=dinov2_small,steps=2")
    shared = ("data.crop_size", "data.val", "train.log_every", "train.compilation_cache")
    kept = {name: recorded.flatten(trained[0].to_dict())[name] for name in shared}
    config.update_from_flattened_dict({**kept, "eval.every_steps": 2, "eval.pictures": 1})
    config.model.pretrained = str(tmp_path / "weights.npz")
    config.model.freeze_encoder = True
    loop.train(config, str(tmp_path / "run"))
    *steps, last = metrics(tmp_path / "run")
    assert all(np.isfinite(line["loss_perturbed"]) for line in steps)
    assert last["miou_ema"] >= 0
    after = Segmenter(config, tmp_path / "run")
    jax.tree.map(
        np.testing.assert_array_equal,
        after.weights.params["backbone"],
        before.weights.params["backbone"],
    )
    heads = (jax.tree.leaves(x.weights.params["head"]) for x in (before, after))
    assert not all(np.array_equal(*pair) for pair in zip(*heads, strict=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data.crop_size": 513}, "config.data.crop_size = 513: .* use 504 or 518."),
        ({"eval.mode": "sliding", "eval.window": 801}, "config.eval.window = 801: .*798 or 812"),
        ({"eval.mode": "sliding", "eval.windows": "cut"}, "use config.eval.windows=shifted"),
    ],
)
def test_sizes_that_are_no_multiples_are_refused(fields, message):
    config = demo.get_config("backbone=dinov2_small")
    config.update_from_flattened_dict(fields)
    with pytest.raises(ConfigError, match=message):
        checks.check(config)


def test_fields_of_a_resnet_are_refused_on_the_command_line():
    config = folder.get_config("backbone=dinov2_small")
    assert (config.optimizer.name, config.model.freeze_encoder) == ("adamw", True)
    checks.check_given(config, ["optimizer.beta1", "model.remat"])
    with pytest.raises(ConfigError, match="--config.model.stem=v1: config.model.backbone = 'dinov"):
        checks.check_given(config, ["model.stem"])
    with pytest.raises(ConfigError, match="optimizer.momentum=0.9: .* it belongs to sgd"):
        checks.check_given(config, ["optimizer.momentum"])


@pytest.mark.parametrize(
    ("arguments", "fields", "message"),
    [
        ("", {}, None),
        ("", {"data.crop_size": 97}, "97: with config.method.second_backbone = 'dinov2_small', "),
        ("backbone=dinov2_small", {}, "'dinov2_small' is also config.model.backbone, but"),
        ("backbone=dinov2_small,second=resnet18", {}, None),
        ("", {"method.second_backbone": "x"}, "config.method.second_backbone = 'x' is not known"),
        (
            "",
            {"method.second_pretrained": "imagenet"},
            "config.method.second_pretrained = 'imagenet': dinov2_small has no weights of this",
        ),
    ],
)
def test_two_unlike_networks_fit_each_other_or_are_refused(arguments, fields, message):
    config = demo.get_config(f"method=co_training,{arguments}")
    config.update_from_flattened_dict(fields)
    if message is None:
        checks.check(config)
        assert config.data.crop_size == 70
        # Both kinds of network have their fields.
        checks.check_given(config, ["model.stem", "model.remat"])
    else:
        with pytest.raises(ConfigError, match=message) as caught:
            checks.check(config)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_resnet_is_trained_beside_a_transformer(trained, tmp_path):
    # `trained` makes the transformer tiny.
    config = demo.get_config("method=co_training,steps=2")
    tiny = {**untrained.TINY_NETWORK, "method.second_pretrained": ""}
    shared = ("data.crop_size", "data.val", "train.log_every", "train.compilation_cache")
    kept = {name: recorded.flatten(trained[0].to_dict())[name] for name in shared}
    config.update_from_flattened_dict({**kept, **tiny, "eval.every_steps": 2, "eval.pictures": 1})
    score, lines = loop.train(config, str(tmp_path)), metrics(tmp_path)
    assert score == lines[-1]["miou"]
    names = ("loss_strong1", "loss_strong1_second")
    assert all(np.isfinite(line[name]) for line in lines[:2] for name in names)
    module = Segmenter(config, tmp_path).weights
    assert "blocks" in module.member("second").params["backbone"]
    # The folder of either run starts the network of its kind.
    config.method.second_pretrained = str(trained[1])
    weights = Run.build(config).initial_state(lambda _: None).weights
    expected = Segmenter(trained[0], trained[1]).weights
    jax.tree.map(np.testing.assert_array_equal, weights.member("second"), expected)


@pytest.mark.slow
def test_accumulation_equals_the_whole_batch():
    """Without batch normalisation and with the cross-entropy."""

    def tiny(key):
        return DinoV2DPT(5, size=SIZE, dtype=jnp.float64, rngs=nnx.Rngs(key))

    method = make_method("fixmatch", confidence_threshold=0.25)
    with jax.enable_x64(True):
        setups = (
            Setup(method, 2, jnp.float64, accumulation=parts, build=tiny, size=28)
            for parts in (1, 4)
        )
        (whole, whole_log), (parts, parts_log) = (each.run(2) for each in setups)
    assert whole_log[0]["kept_ratio"] > 0
    compare = functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-12)
    jax.tree.map(compare, parts_log, whole_log)
    jax.tree.map(compare, parts.weights, whole.weights)
