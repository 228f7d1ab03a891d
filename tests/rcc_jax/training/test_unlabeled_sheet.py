"""The panels of unlabelled views against the networks themselves."""

import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import demo, folder
from input_pipeline.batches.views import UnlabeledViews
from input_pipeline.errors import DataError
from rcc_jax.config import schema
from rcc_jax.consensus.agreement import rank_agreement
from rcc_jax.reporting import heat_map
from rcc_jax.reporting.sheets import SIDE, fit, palette
from rcc_jax.training.run import Run
from rcc_jax.training.unlabeled_sheet import UnlabeledSheet
from tests.support.untrained import filled

TINY = {
    "model.backbone": "resnet10",
    "model.width": 4,
    "model.decoder_channels": 8,
    "data.crop_size": 65,
    "data.unlabeled": "1000:1009",
    "eval.pictures": 3,
    # Of the evaluation alone: training sees each view once and whole.
    "eval.flip": True,
}


def build(config, **fields):
    config.update_from_flattened_dict({name.replace("__", "."): v for name, v in fields.items()})
    return Run.build(config)


def panels(run, state):
    """The drawn panels, [columns, rows, SIDE, SIDE, 3], and their titles."""
    columns = UnlabeledSheet(run).panels(state)
    return np.array([each.pictures for each in columns]), [each.title for each in columns]


def test_panels_show_views_labels_kept_pixels_and_agreement_of_the_networks():
    config = demo.get_config("method=unimatch,seed=5")
    config.update_from_flattened_dict({**TINY, "method.ema_decay": 0.9})
    run = Run.build(config)
    state = filled(run.abstract_state())
    views = [
        UnlabeledViews(65, 1, boxes=False)(run.partition.unlabeled[i], np.random.default_rng(rng))
        for i, rng in ((0, [0, 0]), (4, [0, 1]), (8, [0, 2]))
    ]
    weak, strong, valid = (
        np.stack([v[name] for v in views]) for name in ("weak", "strong1", "valid")
    )
    assert not valid.all()
    predict = jax.jit(run.network.predict)
    for weights in (state.ema, state.weights):
        # Without a class that random weights put everywhere, nor probabilities of all or nothing.
        logits, last = predict(weights, weak), weights.params["classifier"]
        mean = logits.mean(axis=(0, 1, 2), keepdims=True)
        spread = (logits - mean).std()
        last["bias"] = (last["bias"] - mean.ravel()) / spread
        last["kernel"] = last["kernel"] / spread
    teacher, student = predict(state.ema, weak), predict(state.weights, strong)
    confidence = np.asarray(jax.nn.softmax(teacher)).max(-1)
    threshold = float(np.quantile(confidence[valid], 0.6))
    config.method.confidence_threshold = threshold

    drawn, titles = panels(Run.build(config), state)
    assert titles[1] == "EMA teacher"
    colors = palette(run.partition.num_classes)
    classes, others = (np.asarray(logits).argmax(-1) for logits in (teacher, student))
    assert (classes == others)[valid].mean() < 0.9
    assert len(np.unique(classes[valid])) > 3
    labels = colors[classes]
    agreement = rank_agreement(teacher, student, top_n=schema.PLAYERS)
    expected = [
        weak,
        labels,
        None,
        None,
        strong,
        colors[others],
        heat_map.colors_of(np.asarray(agreement), 0, 1),
    ]
    enlarge = functools.partial(fit, interpolation=cv2.INTER_NEAREST)
    inside = np.stack([enlarge(each.astype(np.uint8)) for each in valid]).astype(bool)
    for panel, pictures in zip(drawn, expected, strict=True):
        assert (panel[~inside] == 255).all()
        if pictures is not None:
            same = (panel == np.stack(list(map(enlarge, pictures)))).all(-1)[inside]
            # Another compilation rounds logits differently, which may decide between equal ones.
            assert same.mean() > 0.99
    large = np.stack(list(map(enlarge, labels)))
    kept = np.stack([enlarge(each.astype(np.uint8)) for each in confidence >= threshold]) > 0
    grey = (drawn[3] == drawn[3][..., :1]).all(-1) & (drawn[3][..., 0] >= 160)
    assert (drawn[3] == large).all(-1)[kept & inside].mean() > 0.99
    assert grey[~kept & inside].mean() > 0.99
    shades = np.stack(list(map(enlarge, heat_map.colors_of(confidence, 0, 1)))).astype(int)
    assert np.abs(drawn[2] - shades)[inside].max() <= 8


@pytest.mark.slow
def test_panels_show_the_labels_that_daw_aligns():
    config = demo.get_config("method=daw,seed=5")
    config.update_from_flattened_dict(TINY)
    run = Run.build(config)
    state = filled(run.abstract_state())
    shares = jnp.where(jnp.arange(run.partition.num_classes) == 3, 1, 1e-30)
    memory = {**state.memory, "labeled": shares, "unlabeled": jnp.ones_like(shares)}
    drawn, _ = panels(run, state.replace(memory=memory))
    labels = drawn[1][(drawn[1] != 255).any(-1)]
    assert (labels == palette(run.partition.num_classes)[3]).all()


def test_two_classes_have_no_agreement_and_a_broken_image_is_replaced_or_named(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(5):
        picture = Image.fromarray(rng.integers(0, 255, (40, 30, 3), np.uint8))
        picture.save(tmp_path / f"{index}.png")
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(tmp_path / "mask.png")
    (tmp_path / "labeled.txt").write_text("0.png mask.png\n")
    (tmp_path / "val.txt").write_text("4.png mask.png\n")
    (tmp_path / "unlabeled.txt").write_text("1.png\n2.png\n3.png\n")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:-900])
    fields = {
        "model__backbone": "resnet18",
        "model__pretrained": "",
        "model__width": 4,
        "model__decoder_channels": 8,
        "data__root": str(tmp_path),
        "data__labeled": "labeled.txt",
        "data__unlabeled": "unlabeled.txt",
        "data__val": "val.txt",
        "data__num_classes": 2,
        "data__crop_size": 17,
        "eval__pictures": 2,
    }
    config = folder.get_config("method=fixmatch")
    run = build(config, **fields, data__on_error="skip")
    state = filled(run.abstract_state())
    drawn, titles = panels(run, state)
    assert len(titles) == 6
    # The second image replaces the first.
    second, draws = run.partition.unlabeled[1], np.random.default_rng([0, 0])
    view = UnlabeledViews(17, 1, boxes=False)(second, draws)
    weak = np.where(view["valid"][..., None], view["weak"], 255).astype(np.uint8)
    np.testing.assert_array_equal(drawn[0, 0], fit(weak, cv2.INTER_NEAREST))
    sheet = UnlabeledSheet(run).draw(state)
    assert sheet.shape[0] > 2 * SIDE
    assert sheet.shape[1] > 6 * SIDE
    with pytest.raises(DataError, match=r"1\.png"):
        UnlabeledSheet(build(config, data__on_error="stop")).draw(state)


@pytest.mark.parametrize("changed", [{"method__name": "supervised"}, {"eval__pictures": 0}])
def test_without_unlabelled_images_or_pictures_there_is_none(changed):
    config = demo.get_config("method=fixmatch")
    config.update_from_flattened_dict(TINY)
    assert UnlabeledSheet(build(config, **changed)).draw(state=None) is None


def test_the_second_of_two_networks_labels_whatever_average_is_evaluated():
    config = demo.get_config("method=cps")
    config.update_from_flattened_dict({**TINY, "method.ema_decay": 0.9})
    run = Run.build(config)
    state = filled(run.abstract_state())
    # In each network one class is everywhere.
    for weights, first in ((state.weights, 1), (state.ema, 3)):
        for label, member in enumerate(("main", "second"), first):
            classifier = weights.params[member]["classifier"]
            classifier["bias"] = 1e4 * jax.nn.one_hot(label, len(classifier["bias"]))
    drawn, titles = panels(run, state)
    assert titles[1] == "second network"
    colors = palette(run.partition.num_classes)
    inside = (drawn[0] != 255).any(-1)
    for column, label in ((1, 2), (5, 1)):
        assert (drawn[column] == colors[label]).all(-1)[inside].mean() > 0.98
