"""U2PL, alone and on UniMatch: checks by hand, and each term against plain float64 numpy."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.config import checks
from rcc_jax.methods import METHODS, contrast, passes, ring, u2pl
from rcc_jax.methods.base import Clock
from rcc_jax.methods.with_contrast import Watched
from rcc_jax.models import representation
from tests.rcc_jax.methods.test_contract import config
from tests.support.plain import (
    CLASSES,
    Pixelwise,
    numbered,
    plain,
    plain_cross_entropy,
    plain_entropy,
    plain_labeled,
    plain_ranks,
)
from tests.support.steps import make_batch

pytestmark = pytest.mark.usefixtures("in_float64")

FEATURES = 6


def test_the_percentile_changes_with_the_epoch():
    method = METHODS["u2pl"]()
    shares = [
        float(method.unreliable(Clock(jnp.asarray(step), 10, 800)))
        for step in (0, 9, 10, 400, 790, 799)
    ]
    np.testing.assert_allclose(shares, [0.2, 0.2, 0.1975, 0.1, 0.0025, 0.0025])


def test_vectors_lie_on_every_fourth_pixel():
    image = jnp.arange(513).reshape(1, 1, 513) + 1000 * jnp.arange(6).reshape(1, 6, 1)
    found = representation.at_quarter(image)
    np.testing.assert_array_equal(found[0, 0], np.arange(0, 513, 4))
    np.testing.assert_array_equal(found[0, :, 0], [0, 5000])


def test_boxes_cover_half_of_the_image():
    found = np.asarray(u2pl.boxes(jax.random.key(0), (40, 64), 500))
    widths, heights = found.any(1).sum(-1), found.any(2).sum(-1)
    assert (widths.min(), widths.max()) == (33, 64)
    np.testing.assert_array_equal(heights, 40 * 64 // (2 * widths))
    np.testing.assert_array_equal(found.sum((1, 2)), widths * heights)
    assert found[:, 0].any()
    assert found[:, -1].any()


def test_half_of_the_steps_paste_from_the_next_image():
    images, mixing = numbered(0), 0
    mix = jax.jit(u2pl.mix)
    for seed in range(40):
        mixed = mix(images, jax.random.key(seed))
        np.testing.assert_array_equal(mixed.image[..., 0], mixed.target)
        found = [set(np.unique(target)) for target in np.asarray(mixed.target)]
        if found[0] != {0}:
            mixing += 1
            assert all(found[row] == {row, (row + 1) % 6} for row in range(6))
        else:
            np.testing.assert_array_equal(mixed.target, images.target)
    assert 10 < mixing < 30


class Colours(Pixelwise):
    """Networks of one linear layer on a pixel's colour, with such a head."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(1)
        heads = rng.normal(size=(2, 3, FEATURES)) / 40
        self.student = self._network(self.of_student, heads[0])
        self.teacher_module = self._network(self.of_teacher, heads[1]).module
        self.of_student_head, self.of_teacher_head = heads

    @staticmethod
    def _network(of_logits, of_head):
        """A student; its features and merged features are the colours."""

        def head(merged, size, *, train):
            return representation.at_quarter(merged) @ of_head

        def encode(images, *, train=True):
            return images.astype(jnp.float64)

        main = types.SimpleNamespace(
            encode=encode,
            merge=lambda features, *, train: features,
            classify=lambda merged, size, *, train: merged @ of_logits,
        )
        module = types.SimpleNamespace(main=main, head=head)
        return types.SimpleNamespace(module=module, encode=encode)

    def read_teacher(self, images, function):
        return function(self.teacher_module, images)

    def probe(self, name, images):
        return self.teacher(images)


@functools.cache
def compiled(method):
    def loss(batch, step, key):
        return method.loss(
            Colours(),
            batch,
            ring.empty(CLASSES, method.queue_size, FEATURES),
            counts=method.counts(batch),
            parts=1,
            clock=Clock(step, 5, 20),
            key=jax.random.key(key),
        )

    return jax.jit(loss)


def step_of(method, batch, step=5, key=0):
    """The result of a step; by default of the first one after the warm-up, in the second epoch."""
    return jax.device_get(compiled(method)(batch, step, key))


def plain_push(labels, pseudo_labels, logits, high):
    """Numbers of negatives of a batch; logits of labelled and unlabelled images, [2, ...]."""
    quarter = [
        np.asarray(representation.at_quarter(jnp.asarray(each)))
        for each in (labels, pseudo_labels, *logits, high)
    ]
    label, _, of_labeled, of_unlabeled, unsure = quarter
    rank, other_rank = plain_ranks(of_labeled), plain_ranks(of_unlabeled)
    numbers = []
    for c in range(CLASSES):
        known = (label != 255) & (label != c) & (rank[..., c] < 3)
        numbers.append(known.sum() + (unsure & (other_rank[..., c] >= 3)).sum())
    return numbers


METHOD = METHODS["u2pl"](contrast_weight=0.3, queue_size=2000)


@pytest.mark.parametrize("key", range(4))
def test_a_step_equals_a_plain_computation_of_what_it_mixed(key):
    batch = make_batch(METHOD, rows=3)
    found = step_of(METHOD, batch, key=key)
    u = batch["unlabeled"]
    weak = plain(u["weak"], "teacher")
    parts = u["weak"], weak.argmax(-1), u["valid"], weak, u["valid"]
    images = u2pl.Mixable(*map(jnp.asarray, parts))
    mixed = u2pl.mix(images, jax.random.split(jax.random.key(key))[0])
    valid = np.asarray(mixed.unlabeled)
    of_mixed = plain(mixed.image, "teacher")
    entropy = plain_entropy(of_mixed)
    # The second of four epochs: 15 per cent are unreliable.
    limit = np.percentile(entropy[valid], 85)
    reliable = valid & (entropy < limit)
    pixel_losses = plain_cross_entropy(plain(mixed.image), np.asarray(mixed.target))
    unlabeled = valid.sum() / reliable.sum() * pixel_losses[reliable].mean()
    assert 1.17 < valid.sum() / reliable.sum() < 1.19
    np.testing.assert_allclose(found.terms["loss_strong1"], unlabeled, rtol=1e-9)
    np.testing.assert_allclose(found.terms["kept_ratio"], reliable.sum() / valid.sum(), rtol=1e-9)
    assert found.terms["loss_contrast"] > 0
    expected = plain_labeled(batch) + unlabeled + 0.3 * found.terms["loss_contrast"]
    np.testing.assert_allclose(found.loss, expected, rtol=1e-9)
    logits = plain(batch["labeled"]["image"], "teacher"), of_mixed
    labels = batch["labeled"]["label"].astype(int)
    numbers = plain_push(labels, np.asarray(mixed.target), logits, valid & (entropy >= limit))
    assert found.observations.number.tolist() == numbers
    low = valid & (entropy <= np.percentile(entropy[valid], 15))
    expected = plain_contrast(batch, mixed, (low, valid & (entropy >= limit)), logits, key)
    np.testing.assert_allclose(found.terms["loss_contrast"], expected, rtol=1e-9)


def plain_contrast(batch, mixed, doubt, logits, key):
    """L_c of a step; `test_contrast.py` checks the two functions that it calls."""
    nets, labels = Colours(), batch["labeled"]["label"].astype(int)
    valid = np.asarray(mixed.unlabeled)

    def pixels(of_labeled, of_unlabeled):
        """Every fourth pixel of the images, whose kinds alternate."""
        rows = np.stack([of_labeled, of_unlabeled], 1)[:, :, ::4, ::4]
        return jnp.asarray(rows.reshape(-1, *rows.shape[4:]))

    known = labels != 255
    described = contrast.Pixels(
        pixels(labels, np.where(valid, logits[1].argmax(-1), 255)),
        pixels(np.ones_like(valid), np.zeros_like(valid)),
        *(pixels(known, each) for each in doubt),
        pixels(*logits),
    )
    images = pixels(batch["labeled"]["image"], np.asarray(mixed.image)).astype(float)
    found = contrast.parts(described, "paper")
    of_push, of_loss = jax.random.split(jax.random.split(jax.random.key(key))[1])
    student, teacher = images @ nets.of_student_head, images @ nets.of_teacher_head
    push = contrast.new_negatives(found, teacher, contrast.PUSHED, of_push)
    memory = ring.empty(CLASSES, METHOD.queue_size, FEATURES)
    return contrast.loss(student, teacher, found, memory, push, of_loss, "paper")


def test_the_warm_up_trains_on_labels_alone():
    batch = make_batch(METHOD, rows=3)
    before, after = (step_of(METHOD, batch, step=step) for step in (4, 5))
    np.testing.assert_allclose(before.loss, plain_labeled(batch), rtol=1e-9)
    assert not before.observations.number.any()
    assert after.loss > before.loss
    assert after.observations.number.all()
    # At most half of a short run.
    assert METHODS["u2pl"](warm_up_epochs=9).warm_up_steps(Clock(0, 5, 20)) == 10
    (teacher,) = METHOD.teachers
    decays = [float(teacher.decay(Clock(jnp.asarray(step), 5, 20))) for step in (0, 9, 10, 999)]
    np.testing.assert_allclose(decays, [0, 0, 10 / 11, 0.99])
    # The teacher's copies end an epoch after a warm-up that is cut short, too.
    (teacher,) = METHODS["u2pl"](warm_up_epochs=9).teachers
    decays = [float(teacher.decay(Clock(jnp.asarray(step), 5, 20))) for step in (14, 15)]
    np.testing.assert_allclose(decays, [0, 15 / 16])
    assert not METHODS["u2pl"](ema_decay=0.0).teachers


@pytest.mark.slow
def test_it_takes_soft_labels_and_a_consensus_term_and_a_small_memory():
    batch = make_batch(METHOD, rows=3)
    changed = dataclasses.replace(
        METHOD, pseudo_labels="soft", consensus="rank", top_n=3, queue_size=3
    )
    found, without = (step_of(method, batch) for method in (changed, METHOD))
    terms = found.terms
    assert abs(terms["loss_strong1"] - without.terms["loss_strong1"]) > 1e-3
    assert terms["loss_consensus"] > 0
    extra = 0.2 * terms["loss_consensus"] + 0.3 * terms["loss_contrast"]
    np.testing.assert_allclose(
        found.loss, terms["loss_labeled"] + terms["loss_strong1"] + extra, rtol=1e-9
    )
    push = found.observations
    assert push.keys.shape == (CLASSES, 3, FEATURES)
    assert push.number.tolist() == [3] * CLASSES
    np.testing.assert_allclose(np.linalg.norm(push.keys, axis=-1), 1)


@pytest.mark.slow
def test_on_unimatch_it_adds_half_of_its_weight():
    method = METHODS["unimatch_u2pl"](
        confidence_threshold=0.5, contrast_weight=0.4, queue_size=2000
    )
    batch = make_batch(method, rows=3)
    found = step_of(method, batch)

    @jax.jit
    def unimatch(batch):
        nets, made = Colours(), METHODS["unimatch"](confidence_threshold=0.5)
        nets.student = Watched(nets.student)
        logits = made.passes(nets, batch, jax.random.split(jax.random.key(0))[0])
        targets = passes.targets(batch, 2)
        loss, _ = made.sum_terms(logits, targets, made.counts(batch))
        return loss, targets.strong_valid[0], passes.mixed_views(batch, 2)[0]

    loss, valid, strong = jax.device_get(unimatch(batch))
    assert found.terms["loss_contrast"] > 0
    np.testing.assert_allclose(found.loss, loss + 0.2 * found.terms["loss_contrast"], rtol=1e-9)
    of_strong = plain(strong, "teacher")
    entropy = plain_entropy(of_strong)
    high = valid & (entropy >= np.percentile(entropy[valid], 85))
    labels = batch["labeled"]["label"].astype(int)
    of_labeled = plain(batch["labeled"]["image"], "teacher")
    numbers = plain_push(labels, labels, (of_labeled, of_strong), high)
    assert found.observations.number.tolist() == numbers


def test_vectors_on_unimatch_are_of_labelled_images_and_first_strong_views():
    method = METHODS["unimatch_u2pl"]()
    rows = {name: jnp.array([f]) + 10 * jnp.arange(3) for f, name in enumerate("luab")}
    clean = passes.interleave(rows["l"], rows["u"])
    merged = [passes.interleave(clean, -clean), passes.interleave(rows["a"], rows["b"])]
    module = types.SimpleNamespace(head=lambda merged, size, *, train: merged)
    nets = types.SimpleNamespace(student=types.SimpleNamespace(module=module))
    assert method.vectors(nets, merged, (8, 8)).tolist() == [0, 2, 10, 12, 20, 22]


@pytest.mark.parametrize("name", ["u2pl", "unimatch_u2pl"])
def test_bad_fields_are_refused(name):
    fields = {"method.name": name, "method.contrast_rule": "own", "method.queue_size": 0}
    assert list(checks.faults(config(**fields))) == [
        "config.method.contrast_rule = 'own' is not known; use one of paper, released.",
        "config.method.queue_size = 0 must be at least 1.",
    ]
