"""What the tests of weights share: values by PyTorch's names, state dicts, and refusals."""

import re

import numpy as np
import pytest

from rcc_jax.models.pretrained import load_torch, save_torch
from rcc_jax.models.resnet_names import COUNTER
from rcc_jax.models.torch_names import named_variables, torch_shape


def values(model):
    return {name: np.asarray(v[...]) for name, v in named_variables(model).items()}


def assert_same(model, other, prefix=""):
    left, right = values(model), values(other)
    assert left.keys() == right.keys()
    for name in left:
        if name.startswith(prefix):
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def differs(model, other, name):
    return not np.array_equal(values(model)[name], values(other)[name])


def saved_state(model, folder):
    """State dict of a model under PyTorch's names, as save_torch writes it."""
    save_torch(model, folder / "state.npz")
    return dict(np.load(folder / "state.npz"))


def backbone_state(model, folder):
    """The same as a bare, torchvision-like backbone, with the classifier that those have."""
    state = {
        k.removeprefix("backbone."): v
        for k, v in saved_state(model, folder).items()
        if k.startswith("backbone.")
    }
    return state | {"fc.weight": np.zeros((7, 64), np.float32), "fc.bias": np.zeros(7, np.float32)}


def official(model, folder):
    """The encoder of a DINOv2 as in the official files, which hold a mask token."""
    state = saved_state(model, folder)
    return {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}


def as_transformers(state, attention="attention.attention.", names=("query", "key", "value")):
    """The same under transformers' names."""
    out = "attention.output.dense" if attention.count("attention") > 1 else "attention.o_proj"
    found = {}
    for name, value in state.items():
        name = name.replace("blocks.", "encoder.layer.").replace("patch_embed.proj", "PATCH")
        name = re.sub(r"^norm\.", "layernorm.", name).replace("attn.proj", out)
        name = re.sub(r"ls([12])\.gamma", r"layer_scale\1.lambda1", name)
        name = name.replace("PATCH", "embeddings.patch_embeddings.projection")
        name = name.replace("pos_embed", "position_embeddings")
        if name in ("cls_token", "mask_token", "position_embeddings"):
            name = f"embeddings.{name}"
        if "attn.qkv" in name:
            for part, own in zip(names, np.split(value, 3), strict=True):
                found[name.replace("attn.qkv", f"{attention}{part}")] = own
        else:
            found[name] = value
    return found


def published(model):
    """A backbone drawn at random, as a hub has it: matrices in half precision, counters, 'fc'.

    Args:
        model: The network; an abstract one (`nnx.eval_shape`) suffices.
    """
    rng = np.random.default_rng(0)
    state = {"fc.weight": np.zeros((7, 32)), "fc.bias": np.zeros(7)}
    for name, variable in named_variables(model).items():
        if name.startswith("backbone."):
            name, shape = name.removeprefix("backbone."), torch_shape(variable)
            if len(shape) == 4:
                scale = np.sqrt(2 / np.prod(shape[1:]))
                state[name] = (scale * rng.standard_normal(shape)).astype(np.float16)
            else:
                state[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
            if name.endswith("running_var"):
                state[name.replace("running_var", COUNTER)] = np.array(7)
    return state


def error_of(model, path, **allowed):
    """Message of the error that loading raises; the model must not have changed."""
    before = values(model)
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        load_torch(model, path, **allowed)
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])
    return str(caught.value)
