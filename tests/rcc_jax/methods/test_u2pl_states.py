"""U2PL resumed, on eight devices, and on every family of networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rcc_jax.methods import METHODS
from rcc_jax.models import representation
from tests.support import tiny_vit
from tests.support.plain import (
    CLASSES,
    assert_close,
)
from tests.support.steps import Setup, deeplab, make_method

pytestmark = pytest.mark.usefixtures("in_float64")


def run(name, *arguments, devices=1):
    changes = {"warm_up_epochs": 0} if name == "u2pl" else {}
    return Setup(make_method(name, **changes), devices, jnp.float64).run(3, *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["u2pl", "unimatch_u2pl"])
def test_resumed_is_uninterrupted_and_eight_devices_train_as_one(name, tmp_path):
    state, log = run(name)
    assert int(state.memory.filled.min()) == 40
    assert len(set(state.memory.place.tolist())) == 1
    resumed, _ = run(name, tmp_path, 2)
    for part in ("memory", "weights", "opt_state", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(resumed, part), getattr(state, part))
    eight, eight_log = run(name, devices=8)
    assert_close(eight_log, log)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-8, atol=1e-11
        ),
        (eight.memory, eight.weights),
        (state.memory, state.weights),
    )


@pytest.mark.parametrize(
    ("build", "size"), [(deeplab, 65), (lambda key: tiny_vit.build(dtype=jnp.float64), 70)]
)
def test_every_family_takes_the_head(build, size):
    key = jax.random.key(0)

    def found():
        module = METHODS["u2pl"]().network(lambda rngs: build(key), nnx.Rngs(key))
        return representation.evaluated(module, jnp.zeros((2, size, size, 3)))

    logits, vectors = jax.eval_shape(found)
    assert logits.shape == (2, size, size, CLASSES)
    assert vectors.shape == (2, *representation.quarter((size, size)), representation.FEATURES)
