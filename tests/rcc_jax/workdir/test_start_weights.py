"""A run that starts from the weights of another run of any method."""

import functools
import re
import shutil

import jax
import numpy as np
import pytest

from configs import demo, recorded
from rcc_jax.errors import ConfigError
from rcc_jax.training.run import Run
from rcc_jax.workdir import checkpoint_paths, start_weights
from rcc_jax.workdir.checkpoints import Checkpoints
from tests.support.untrained import TINY_NETWORK, filled, write_run


def build(method="supervised", **fields):
    config = demo.get_config(f"method={method}")
    tiny = {**TINY_NETWORK, "data.unlabeled": "1000:1008"}
    fields = {name.replace("__", "."): value for name, value in fields.items()}
    config.update_from_flattened_dict(tiny | fields)
    return Run.build(config)


def saved(folder, method, **fields):
    """The state of random numbers of a run whose folder this becomes."""
    state = filled(build(method, **fields).abstract_state())
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(7, state.saved())
    return state


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((0.0, False), id="student", marks=pytest.mark.slow),
        pytest.param((0.9, False), id="ema", marks=pytest.mark.slow),
        pytest.param((0.9, True), id="ema without the frozen encoder"),
    ],
)
def earlier(request, tmp_path_factory):
    """The folder of a supervised run, and the weights that another one should start from."""
    folder = tmp_path_factory.mktemp("earlier")
    decay, frozen = request.param
    fields = {"method__ema_decay": decay, "model__freeze_encoder": frozen}
    state = saved(folder, "supervised", **fields)
    assert state.ema is None or frozen == ("backbone" not in state.ema.params)
    return folder, state.averaged or state.weights


def test_another_method_starts_from_them(earlier):
    folder, expected = earlier
    run, said = build("rcc", model__pretrained=str(folder)), []
    run.check_start()
    state = run.initial_state(said.append)
    jax.tree.map(np.testing.assert_array_equal, state.weights, expected)
    assert int(state.step) == 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))
    assert re.fullmatch(rf"starting from the .* of {folder}/checkpoints/7", said[0])


same = functools.partial(jax.tree.map, np.testing.assert_array_equal)


@pytest.mark.slow
def test_the_networks_of_a_pair_share_the_encoder_that_they_start_from(tmp_path):
    expected = saved(tmp_path, "supervised").weights
    run = build("cps", model__pretrained=str(tmp_path))
    run.check_start()
    found = run.initial_state(lambda line: None).weights
    second = found.member("second")
    same(found.main, expected)
    same(second.inside_encoder(), expected.inside_encoder())
    # The head has random values of its own.
    assert not np.any(second.params["classifier"]["bias"] == expected.params["classifier"]["bias"])
    # The state is donated to the first step, so no buffer may be in it twice.
    parts = [leaf.addressable_shards[0].data for leaf in jax.tree.leaves(found)]
    assert len({part.unsafe_buffer_pointer() for part in parts}) == len(parts)


def test_a_pair_leaves_both_networks_to_a_pair_and_the_main_one_to_others(tmp_path):
    weights = saved(tmp_path, "cps").weights
    for expected in (weights, weights.main):
        abstract = jax.eval_shape(lambda x: x, expected)
        found, _ = start_weights.read_start(tmp_path, abstract, "main", "field")
        same(found, expected)
    other = build("fixmatch", model__pretrained=str(tmp_path), model__decoder_channels=12)
    with pytest.raises(ConfigError, match="is of another network:\n") as caught:
        other.check_start()
    # Nothing about the second network.
    assert "main.classifier" in str(caught.value)
    assert "second" not in str(caught.value)


def test_settings_that_weights_do_not_tell(tmp_path):
    """The rates of the ASPP and the output stride: any value fits the weights."""
    write_run(tmp_path / "run", "method=supervised", TINY_NETWORK)
    network = tmp_path / "run" / "checkpoints" / "7"
    config, other = (recorded.get_config(tmp_path / "run") for _ in range(2))
    other.model.update(output_stride=8, aspp_rates=(2, 4, 6))
    for path in (network, network.parent, network.parents[1]):
        assert checkpoint_paths.find_named(config, tmp_path, str(path)) == str(path)
        with pytest.raises(ConfigError, match="stride: 16 there, 8 here\n  model.aspp_rates: "):
            checkpoint_paths.find_named(other, tmp_path, str(path))
    said = []
    build(model__pretrained=str(network), model__output_stride=8).initial_state(said.append)
    assert said[1:] == ["note: model.output_stride: 16 there, 8 here; the weights cannot show it"]


def test_another_network_is_refused(earlier):
    folder, _ = earlier
    run = build("rcc", model__pretrained=str(folder / "checkpoints"), model__decoder_channels=12)
    with pytest.raises(ConfigError, match="is of another network:\n") as caught:
        run.check_start()
    assert "float32[8] in the checkpoint, float32[12] here" in str(caught.value)


def test_folders_that_hold_no_weights_are_named(earlier, tmp_path):
    with pytest.raises(ConfigError, match=f"config.model.pretrained = '{tmp_path}': .*train first"):
        build(model__pretrained=str(tmp_path)).check_start()
    corrupt = tmp_path / "checkpoints"
    shutil.copytree(earlier[0] / "checkpoints", corrupt)
    (corrupt / "7" / "state" / "_METADATA").write_text("{")
    with pytest.raises(ConfigError, match="checkpoints/7 is a corrupt checkpoint"):
        build(model__pretrained=str(tmp_path)).check_start()
