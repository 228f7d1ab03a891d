"""The forms of convolution that `benchmarks/conv_forms.py` switches."""

import argparse

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from rcc_jax.models import layers, resnet


def test_forms_are_read_from_the_command_line(script):
    read = script("conv_forms").parse_forms
    assert read("all") == ["all"]
    assert read("winograd,all,winograd") == ["winograd", "all"]
    with pytest.raises(argparse.ArgumentTypeError, match="'wino': use all, pointwise"):
        read("all,wino")


@pytest.mark.parametrize(
    ("form", "changed"),
    [
        ("none", set()),
        ("pointwise", {"pointwise"}),
        ("dilated", {"dilated"}),
        ("winograd", {"winograd"}),
        ("all", {"pointwise", "dilated", "winograd"}),
    ],
)
def test_a_form_changes_its_own_kind_of_convolution(script, form, changed):
    # Side, kernel and dilation of a convolution of 64 channels.
    kinds = {"pointwise": (5, 1, 1), "dilated": (5, 3, 6), "winograd": (5, 3, 1)}
    found = set()
    with script("conv_forms").using(form):
        for kind, (side, size, dilation) in kinds.items():
            x, kernel = jnp.ones((1, side, side, 64)), jnp.ones((size, size, 64, 64))
            program = jax.make_jaxpr(lambda x, k, d=dilation: layers.convolve(x, k, dilation=d))
            if "conv_general_dilated" not in str(program(x, kernel)):
                found.add(kind)
    assert found == changed


def test_blocks_traced_before_do_not_keep_their_form(script):
    def program(form):
        def run(x):
            return resnet.ResNet("resnet10", "deep", width=8, rngs=nnx.Rngs(0))(x, train=False)

        with script("conv_forms").using(form):
            return jax.jit(run).lower(jnp.zeros((1, 17, 17, 3))).as_text()

    assert "stablehlo.dot_general" in program("all")
    assert "stablehlo.dot_general" not in program("none")
