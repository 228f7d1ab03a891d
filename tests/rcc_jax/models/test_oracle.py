"""Parity of ResNet-50 DeepLabv3+ with a recorded PyTorch run, at full size."""

import ast
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rcc_jax.models import DeepLabV3Plus
from rcc_jax.models.pretrained import load_torch
from rcc_jax.models.resnet_names import COUNTER
from rcc_jax.models.torch_names import named_variables, torch_shape


def abstract():
    return nnx.eval_shape(lambda: DeepLabV3Plus(21, "resnet50", "deep", rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def recorded(oracles):
    with np.load(oracles / "deeplabv3plus_resnet50.npz") as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="module")
def weights(oracles):
    """The module that draws the weights and inputs of the recorded run."""
    spec = importlib.util.spec_from_file_location("oracle_weights", oracles / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def network(recorded, weights, tmp_path_factory):
    """Graph definition, parameters and statistics with the recorded run's weights."""
    path = tmp_path_factory.mktemp("oracle") / "weights.npz"
    named = zip(recorded["keys"], map(ast.literal_eval, recorded["shapes"]), strict=True)
    np.savez(path, **{k: weights.value(k, s) for k, s in named})
    graphdef, state = nnx.split(abstract())
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), nnx.to_pure_dict(state))
    model = nnx.merge(graphdef, zeros)
    summary = load_torch(model, path, allow_unused=())
    assert (summary.covers, summary.loaded, summary.missing) == ("network", 322, ())
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


def assert_near(logits, expected):
    """Within 2e-4 of the range of the recorded logits, which are [B, K, H, W]."""
    difference = np.abs(np.asarray(logits).transpose(0, 3, 1, 2) - expected).max()
    assert difference < 2e-4 * np.ptp(expected)


def test_names_and_shapes_are_those_of_torch(recorded):
    ours = {k: torch_shape(v) for k, v in named_variables(abstract()).items()}
    for name in list(ours):
        if name.endswith("running_var"):
            ours[name.replace("running_var", COUNTER)] = ()
    theirs = zip(recorded["keys"], map(ast.literal_eval, recorded["shapes"]), strict=True)
    assert ours == {str(k): tuple(s) for k, s in theirs}


def test_evaluation_logits(network, recorded, weights):
    graphdef, params, stats = network
    run = jax.jit(lambda p, s, x: nnx.merge(graphdef, p, s)(x, train=False))
    odd, rectangular, _ = weights.inputs()
    for inputs, key in ((odd, "eval_logits"), (rectangular, "eval_logits2")):
        assert_near(run(params, stats, inputs.transpose(0, 2, 3, 1)), recorded[key])


def test_training_logits_loss_and_gradients(network, recorded, weights):
    graphdef, params, stats = network
    images, _, labels = weights.inputs()
    valid = labels != 255

    def loss_fn(params, images):
        logits = nnx.merge(graphdef, params, stats)(images, train=True)
        logp = jax.nn.log_softmax(logits)
        picked = jnp.take_along_axis(logp, np.where(valid, labels, 0)[..., None], axis=-1)
        return -jnp.sum(picked[..., 0] * valid) / valid.sum(), logits

    step = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (loss, logits), gradients = step(params, images.transpose(0, 2, 3, 1))
    assert_near(logits, recorded["train_logits"])
    np.testing.assert_allclose(loss, recorded["loss"], rtol=1e-5)
    named = named_variables(nnx.merge(graphdef, gradients, stats))
    norms = [np.linalg.norm(np.asarray(named[k][...], np.float64)) for k in recorded["grad_keys"]]
    np.testing.assert_allclose(norms, recorded["grad_norm"], rtol=1e-2)
