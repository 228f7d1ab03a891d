"""CPS and co-training: checks by hand, and the losses against plain float64 numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.batches.boxes import draw_box
from rcc_jax.methods import METHODS
from tests.support.plain import (
    KINDS,
    loss_of,
    plain_cross_entropy,
    plain_pseudo,
    softmax,
)
from tests.support.steps import SIZE, Setup, make_batch, make_method

pytestmark = pytest.mark.usefixtures("in_float64")

CLASSES = 5
NAMES = ("student", "second")


class Two:
    """Two networks whose logits are functions of a pixel's colour, in training and evaluation."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.trained, self.evaluated = (
            dict(zip(NAMES, rng.normal(size=(2, 3, CLASSES)) / 40, strict=True)) for _ in range(2)
        )

    def student(self, images):
        return jnp.asarray(images, jnp.float64) @ self.trained["student"]

    def second(self, images):
        return jnp.asarray(images, jnp.float64) @ self.trained["second"]

    def probe(self, name, images):
        return jnp.asarray(images, jnp.float64) @ self.evaluated[name]

    def plain(self, name, images, mode="trained"):
        return np.asarray(images, np.float64) @ getattr(self, mode)[name]


def swapped(nets):
    other = Two()
    other.trained = dict(zip(NAMES, reversed(nets.trained.values()), strict=True))
    other.evaluated = dict(zip(NAMES, reversed(nets.evaluated.values()), strict=True))
    return other


def labeled_loss(nets, name, batch):
    x, labels = batch["labeled"]["image"], batch["labeled"]["label"].astype(int)
    return np.nanmean(plain_cross_entropy(nets.plain(name, x), labels))


def toggled_batch(method, rows=3, seed=0):
    batch = make_batch(method, rows=rows, seed=seed)
    rng = np.random.default_rng(seed)
    boxes = [draw_box(rng, SIZE, method.views.box) for _ in range(rows)]
    batch["unlabeled"]["boxes"] = np.stack(boxes)[:, None]
    return batch


def mixed(batch, name, view=0):
    """A view with the partner's pixels where an odd number of boxes lie."""
    found = batch["unlabeled"][name].copy()
    for row, boxes in enumerate(batch["unlabeled"]["boxes"][:, view]):
        times = np.zeros((SIZE, SIZE), int)
        for y0, x0, y1, x1 in boxes.reshape(-1, 4):
            times[y0:y1, x0:x1] += 1
        found[row][times % 2 == 1] = batch["partner"][name][row][times % 2 == 1]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_cps_equals_a_plain_computation(kind):
    method, nets = METHODS["cps"](cross_weight=3.0, pseudo_labels=kind), Two()
    batch = toggled_batch(method)
    found = loss_of(method, batch, nets=nets)
    images, weak, valid = (mixed(batch, name) for name in ("strong1", "weak", "valid"))
    # Labelling and the paste commute.
    total = 0
    for name, other, suffix in zip(NAMES, NAMES[::-1], ("", "_second"), strict=True):
        target, _ = plain_pseudo(nets.plain(other, weak, "evaluated"), kind)
        cross = plain_cross_entropy(nets.plain(name, images), target)[valid].mean()
        supervised = labeled_loss(nets, name, batch)
        np.testing.assert_allclose(found.terms[f"loss_labeled{suffix}"], supervised, rtol=1e-9)
        np.testing.assert_allclose(found.terms[f"loss_strong1{suffix}"], cross, rtol=1e-9)
        total += supervised + 3 * cross
    np.testing.assert_allclose(found.loss, total, rtol=1e-9)
    assert float(found.terms["kept_ratio"]) == 1


def plain_cps(nets, batch):
    """Per network, the mean over the pixels of labelled and unlabelled images together."""
    images = np.concatenate([batch["labeled"]["image"], batch["unlabeled"]["weak"]])
    valid = np.concatenate([batch["labeled"]["label"] != 255, batch["unlabeled"]["valid"]])
    for name, other in zip(NAMES, NAMES[::-1], strict=True):
        target = nets.plain(other, images).argmax(-1)
        yield plain_cross_entropy(nets.plain(name, images), target)[valid].mean()


def test_cps_without_cutmix_equals_a_plain_computation():
    method, nets = METHODS["cps"](cutmix="off", cross_weight=1.5), Two()
    batch = make_batch(method, rows=3)
    assert "partner" not in batch
    found = loss_of(method, batch, nets=nets)
    cross = list(plain_cps(nets, batch))
    for value, suffix in zip(cross, ("", "_second"), strict=True):
        np.testing.assert_allclose(found.terms[f"loss_strong1{suffix}"], value, rtol=1e-9)
    supervised = sum(labeled_loss(nets, name, batch) for name in NAMES)
    np.testing.assert_allclose(found.loss, supervised + 1.5 * sum(cross), rtol=1e-9)


def test_without_cutmix_a_sure_pixel_costs_minus_two_log_p():
    method, nets = METHODS["cps"](cutmix="off"), Two()
    logits = jnp.log(jnp.array([0.6, 0.1, 0.1, 0.1, 0.1]))
    nets.student = nets.second = lambda images: jnp.broadcast_to(logits, (*images.shape[:3], 5))
    terms = loss_of(method, make_batch(method, rows=2), nets=nets).terms
    value = terms["loss_strong1"] + terms["loss_strong1_second"]
    assert float(value) == pytest.approx(-2 * np.log(0.6))


@pytest.mark.parametrize("cutmix", ["on", "off"])
def test_networks_that_change_places_change_their_terms(cutmix):
    method, nets = METHODS["cps"](cutmix=cutmix, consensus="rank", top_n=3), Two()
    batch = toggled_batch(method) if cutmix == "on" else make_batch(method, rows=3)
    found, other = (loss_of(method, batch, nets=each) for each in (nets, swapped(nets)))
    np.testing.assert_allclose(found.loss, other.loss, rtol=1e-12)
    for name in ("loss_labeled", "loss_strong1", "loss_consensus"):
        assert float(found.terms[name]) != float(found.terms[f"{name}_second"])
        np.testing.assert_allclose(found.terms[name], other.terms[f"{name}_second"], rtol=1e-12)
    # The consensus term stands beside the cross-entropy of each network.
    without = loss_of(dataclasses.replace(method, consensus="none"), batch, nets=nets)
    consensus = found.terms["loss_consensus"] + found.terms["loss_consensus_second"]
    np.testing.assert_allclose(found.loss, without.loss + 0.2 * consensus, rtol=1e-9)


def test_networks_of_co_training_change_places_with_their_views():
    method, nets = METHODS["co_training"](confidence_threshold=0.4), Two()
    batch = make_batch(method, rows=3)
    turned = {**batch}
    for stream in ("unlabeled", "partner"):
        views = batch[stream]
        turned[stream] = {**views, "strong1": views["strong2"], "strong2": views["strong1"]}
    turned["unlabeled"]["boxes"] = batch["unlabeled"]["boxes"][:, ::-1]
    found, other = loss_of(method, batch, nets=nets), loss_of(method, turned, nets=swapped(nets))
    np.testing.assert_allclose(found.loss, other.loss, rtol=1e-12)
    for name in ("loss_labeled", "loss_strong1"):
        assert float(found.terms[name]) != float(found.terms[f"{name}_second"])
        np.testing.assert_allclose(found.terms[name], other.terms[f"{name}_second"], rtol=1e-12)
        np.testing.assert_allclose(found.terms[f"{name}_second"], other.terms[name], rtol=1e-12)


@pytest.mark.parametrize("cutmix", ["on", "off"])
def test_equal_networks_train_themselves(cutmix):
    method, nets = METHODS["cps"](cutmix=cutmix), Two()
    nets.trained["second"] = nets.evaluated["second"] = nets.trained["student"]
    nets.evaluated["student"] = nets.trained["student"]
    batch = toggled_batch(method) if cutmix == "on" else make_batch(method, rows=3)
    terms = loss_of(method, batch, nets=nets).terms
    for name in ("loss_labeled", "loss_strong1"):
        assert float(terms[name]) == float(terms[f"{name}_second"])
    if cutmix == "on":
        images, weak, valid = (mixed(batch, name) for name in ("strong1", "weak", "valid"))
        labels = nets.plain("student", weak).argmax(-1)
        own = plain_cross_entropy(nets.plain("student", images), labels)[valid].mean()
    else:
        own = next(plain_cps(nets, batch))
    np.testing.assert_allclose(terms["loss_strong1"], own, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "changes"), [("cps", {}), ("cps", {"cutmix": "off"}), ("co_training", {})]
)
def test_a_network_gets_no_gradient_from_the_term_of_the_other(name, changes):
    method, nets = METHODS[name](**changes), Two()
    batch = (toggled_batch if method.views.box == "toggled" else make_batch)(method, rows=2)

    def terms(of_second):
        nets.trained["second"] = of_second
        return loss_of(method, batch, nets=nets).terms

    gradients = jax.jacrev(terms)(jnp.asarray(nets.trained["second"]))
    for name in ("loss_labeled", "loss_strong1"):
        assert not np.any(gradients[name])
        assert np.any(gradients[f"{name}_second"])


def test_the_first_network_predicts():
    made = Setup(make_method("cps"), 1, jnp.float64)
    weights, images = made.state().weights, make_batch(made.method, rows=1)["labeled"]["image"]
    alone = Setup(make_method("fixmatch"), 1, jnp.float64).network
    for member, of in (({}, weights.main), ({"member": "second"}, weights.member("second"))):
        found = made.network.predict(weights, images, **member)
        np.testing.assert_array_equal(found, alone.predict(of, images))
    assert not np.array_equal(found, made.network.predict(weights, images))


def test_an_average_is_only_evaluated():
    (teacher,) = METHODS["cps"](ema_decay=0.9).teachers
    assert not teacher.labels


@pytest.mark.parametrize("kind", KINDS)
def test_co_training_equals_a_plain_computation(kind):
    method, nets = METHODS["co_training"](confidence_threshold=0.4, pseudo_labels=kind), Two()
    batch = make_batch(method, rows=3)
    found = loss_of(method, batch, nets=nets)
    total = 0
    for view, name, other, suffix in ((0, *NAMES, ""), (1, *NAMES[::-1], "_second")):
        # The pass of the weak view is trained, that of the partner is not.
        own = softmax(nets.plain(other, batch["unlabeled"]["weak"]))
        partner = softmax(nets.plain(other, batch["partner"]["weak"], "evaluated"))
        probability = mixed({**batch, **streams(batch, own, partner)}, "p", view)
        target, counting = plain_pseudo(np.log(probability), kind, 0.4)
        kept = mixed(batch, "valid", view) & counting
        logits = nets.plain(name, mixed(batch, f"strong{view + 1}", view))
        pixels = plain_cross_entropy(logits, target)
        unlabeled = pixels[kept].sum() / mixed(batch, "valid", view).sum()
        np.testing.assert_allclose(found.terms[f"loss_strong1{suffix}"], unlabeled, rtol=1e-9)
        total += (labeled_loss(nets, name, batch) + unlabeled) / 2
    np.testing.assert_allclose(found.loss, total, rtol=1e-9)


def streams(batch, own, partner):
    """The streams with an array 'p' that `mixed` can paste."""
    return {
        "unlabeled": {**batch["unlabeled"], "p": own},
        "partner": {**batch["partner"], "p": partner},
    }


def test_equal_networks_with_equal_views_are_two_of_fixmatch():
    method, nets = METHODS["co_training"](), Two()
    nets.trained["second"] = nets.trained["student"]
    nets.evaluated["second"] = nets.evaluated["student"]
    nets.teacher = lambda images: nets.probe("student", images)
    batch = make_batch(method, rows=2)
    for stream in ("unlabeled", "partner"):
        batch[stream]["strong2"] = batch[stream]["strong1"]
    batch["unlabeled"]["boxes"][:, 1] = batch["unlabeled"]["boxes"][:, 0]
    found = loss_of(method, batch, nets=nets)
    one = loss_of(METHODS["fixmatch"](confidence_threshold=0.0), batch, nets=nets)
    np.testing.assert_allclose(found.loss, 2 * one.loss, rtol=1e-12)
    for name, value in one.terms.items():
        for suffix in ("", "_second"):
            np.testing.assert_allclose(found.terms[name + suffix], value, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"), [("cps", {}), ("cps", {"cutmix": "off"}), ("co_training", {})]
)
def test_eight_devices_train_as_one(name, changes):
    method = make_method(name, **changes)
    (one, one_log), (eight, eight_log) = (
        Setup(method, devices, jnp.float64).run(2) for devices in (1, 8)
    )
    for a, b in ((one.weights, eight.weights), (one_log, eight_log)):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-11), a, b)
