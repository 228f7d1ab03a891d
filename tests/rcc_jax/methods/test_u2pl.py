"""U2PL, alone and on UniMatch: checks by hand, and each term against plain float64 numpy."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from rcc_jax.config import checks
from rcc_jax.methods import METHODS, contrast, losses, passes, ring, u2pl
from rcc_jax.methods.base import Clock
from rcc_jax.methods.with_contrast import Watched
from rcc_jax.models import representation
from tests.rcc_jax.methods.test_contract import config
from tests.support import tiny_vit
from tests.support.plain import (
    CLASSES,
    Pixelwise,
    assert_close,
    numbered,
    plain,
    plain_cross_entropy,
    plain_labeled,
    softmax,
)
from tests.support.steps import Setup, deeplab, make_batch, make_method

FEATURES = 6


@pytest.fixture(autouse=True)
def _in_float64():
    with jax.enable_x64(True):
        yield


def plain_ranks(logits):
    """Rank of each class, by a stable sort."""
    return np.argsort(np.argsort(-logits, axis=-1, kind="stable"), axis=-1, kind="stable")


def plain_entropy(logits):
    p = softmax(logits)
    return -(p * np.log(p)).sum(-1)


def random_pixels(number=400, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, number)
    label[rng.random(number) < 0.1] = 255
    labeled = rng.random(number) < 0.5
    low, high = rng.random((2, number)) < 0.3
    low, high = (np.where(labeled, True, each) & (label != 255) for each in (low, high))
    logits = 2 * rng.normal(size=(number, classes))
    return contrast.Pixels(label, labeled, low, high, logits)


@pytest.mark.parametrize("rule", ["paper", "released"])
def test_the_part_of_each_pixel_follows_the_definitions(rule):
    pixels = random_pixels()
    found = jax.device_get(contrast.parts(jax.tree.map(jnp.asarray, pixels), rule))
    rank, p = plain_ranks(pixels.logits), softmax(pixels.logits)
    for i, (label, labeled, low, high, _) in enumerate(zip(*pixels, strict=True)):
        for c in range(6):
            assert found.positive[c, i] == (label == c and low)
            assert found.anchor[c, i] == (label == c and low and p[i, c] > 0.3)
            if rule == "paper" and labeled:
                negative = label not in (c, 255) and rank[i, c] < 3
            else:
                negative = not labeled and high and rank[i, c] >= 3
                negative &= rule == "paper" or label == c
            assert found.negative[c, i] == negative
    assert all(bool(each.any()) for each in found)


def test_only_the_paper_takes_labelled_negatives():
    pixels = contrast.Pixels(
        jnp.zeros(1, int), *jnp.ones((3, 1), bool), jnp.array([[3.0, 2, 1, 0, -1]])
    )
    found = {rule: contrast.parts(pixels, rule).negative[:, 0] for rule in ("paper", "released")}
    assert found["paper"].tolist() == [False, True, True, False, False]
    assert not found["released"].any()


def test_the_unlikeliest_class_of_many_is_no_negative():
    logits = -jnp.arange(23.0)[None]
    pixels = contrast.Pixels(jnp.zeros(1, int), jnp.zeros(1, bool), *jnp.ones((2, 1), bool), logits)
    expected = [3 <= rank < 20 for rank in range(23)]
    assert contrast.parts(pixels, "paper").negative[:, 0].tolist() == expected


def two_classes(student, positive, negative, rule="paper"):
    """L_c of two pixels of classes 0 and 1 whose means are given; class 1 has no negatives."""
    known = jnp.eye(2, dtype=bool)
    found = contrast.Parts(known, known, jnp.zeros_like(known))
    keys = jnp.zeros((2, 1, 3)).at[0, 0].set(jnp.array(negative))
    push = ring.Push(keys, jnp.array([1, 0]))
    vectors = [jnp.stack([jnp.array(each), jnp.ones(3)]) for each in (student, positive)]
    return contrast.loss(*vectors, found, ring.empty(2, 4, 3), push, jax.random.key(0), rule)


def test_the_term_by_hand():
    e = np.eye(3)
    # The mean is over both classes, although one has no negatives.
    assert float(two_classes(2 * e[0], 3 * e[0], e[1])) * 2 == pytest.approx(2.0499, abs=5e-5)
    assert float(two_classes(e[0], e[0], e[0])) * 2 == pytest.approx(3.9318, abs=5e-5)


def random_problem(classes=(0, 2, 4), number=60):
    """Vectors and parts of pixels of some of five classes, and a ring that wraps around."""
    rng = np.random.default_rng(3)
    label = rng.choice(classes, number)
    of_class = label == np.arange(5)[:, None]
    found = contrast.Parts(of_class & (rng.random(number) < 0.5), of_class, of_class)
    student, teacher = rng.normal(size=(2, number, FEATURES))
    keys = rng.normal(size=(5, 7, FEATURES)).astype(ml_dtypes.bfloat16)
    memory = ring.Ring(jnp.asarray(keys), jnp.array([5, 0, 0, 3, 2]), jnp.array([7, 0, 5, 3, 7]))
    push = ring.Push(rng.normal(size=(5, 4, FEATURES)), jnp.array([4, 0, 2, 0, 0]))
    arrays = jax.tree.map(jnp.asarray, (student, teacher, found))
    return *arrays, memory, jax.tree.map(jnp.asarray, push)


@pytest.mark.parametrize("rule", ["paper", "released"])
def test_the_term_equals_a_plain_computation_of_what_it_drew(rule):
    student, teacher, found, memory, push = random_problem()
    key = jax.random.key(1)
    loss, gradient = jax.jit(
        jax.value_and_grad(lambda x: contrast.loss(*x, found, memory, push, key, rule))
    )((student, teacher))
    of_anchor, of_negative = jax.random.split(key)
    newest = ring.pushed(memory, push)
    anchors = [np.flatnonzero(mask) for mask in np.asarray(found.anchor)]
    shape, most = (5, 256), jnp.array([[max(len(each), 1)] for each in anchors])
    drawn = np.asarray(jax.random.randint(of_anchor, shape, 0, most))
    present = np.flatnonzero(np.asarray(found.positive).any(1))
    total, used = 0.0, set()
    for c, draw in enumerate(jax.random.split(of_negative, 5)):
        queue = c if rule == "paper" else present[c] if c < len(present) else None
        if queue is None or not len(anchors[c]) or not newest.filled[queue]:
            continue
        slots = jax.random.randint(draw, (256, 50), 0, int(newest.filled[queue]))
        negative = np.asarray(newest.keys[queue], np.float64)[np.asarray(slots)]
        index = anchors[c][drawn[c]]
        used |= set(index)
        a = np.asarray(student)[index]
        a /= np.linalg.norm(a, axis=-1, keepdims=True)
        m = np.asarray(teacher)[np.asarray(found.positive[c])].mean(0)
        near = np.exp(a @ (m / np.linalg.norm(m)) / 0.5)
        far = np.exp((a[:, None] * negative).sum(-1) / 0.5).sum(-1)
        total += -np.log(near / (near + far)).mean()
    np.testing.assert_allclose(loss, total / len(present), rtol=1e-9)
    # Only the anchors that were drawn move; the released rule leaves the last classes out.
    assert set(np.flatnonzero(np.any(np.asarray(gradient[0]) != 0, axis=1))) == used
    assert not np.any(gradient[1])
    labels = {int(np.flatnonzero(np.asarray(found.positive)[:, i])[0]) for i in used}
    assert labels == ({0, 2, 4} if rule == "paper" else {0, 2})


def test_one_class_alone_has_no_contrast():
    problem = random_problem(classes=(2,))
    assert float(contrast.loss(*problem, jax.random.key(0), "paper")) == 0


def test_negatives_are_chosen_without_repetition_and_with_equal_chances():
    mask = jnp.array([[True] * 11 + [False] * 4, [False] * 12 + [True] * 3, [False] * 15])
    keys = jax.random.split(jax.random.key(0), 2000)
    index, number = jax.jit(jax.vmap(lambda key: contrast.evenly(mask, 4, key)))(keys)
    assert number[0].tolist() == [4, 3, 0]
    np.testing.assert_array_equal(index[:, 1, :3], [[12, 13, 14]] * 2000)
    assert all(len(set(row)) == 4 for row in np.asarray(index[:, 0]))
    chances = np.bincount(np.asarray(index[:, 0]).ravel(), minlength=15) / 2000
    np.testing.assert_allclose(chances[:11], 4 / 11, atol=0.05)
    assert not chances[11:].any()


@pytest.mark.parametrize("share", [0, 0.0025, 0.2, 0.5, 0.81, 1])
def test_quantiles_are_those_of_numpy(share):
    rng = np.random.default_rng(0)
    values = np.round(rng.exponential(size=(3, 41)), 1)
    where = rng.random(values.shape) < 0.7
    found = losses.quantile(jnp.asarray(values), jnp.asarray(where), share)
    np.testing.assert_allclose(found, np.percentile(values[where], 100 * share), rtol=1e-12)


def test_the_percentile_changes_with_the_epoch():
    method = METHODS["u2pl"]()
    shares = [
        float(method.unreliable(Clock(jnp.asarray(step), 10, 800)))
        for step in (0, 9, 10, 400, 790, 799)
    ]
    np.testing.assert_allclose(shares, [0.2, 0.2, 0.1975, 0.1, 0.0025, 0.0025])


def test_doubt_by_hand():
    rng = np.random.default_rng(5)
    logits = 2 * rng.normal(size=(2, 9, 9, CLASSES))
    valid = rng.random((2, 9, 9)) < 0.8
    entropy = plain_entropy(logits)
    low, high = np.percentile(entropy[valid], [20, 80])
    found = contrast.doubt(jnp.asarray(logits), jnp.asarray(valid), 0.2)
    np.testing.assert_array_equal(found.low, valid & (entropy <= low))
    np.testing.assert_array_equal(found.high, valid & (entropy >= high))


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
        self.of_teacher_head = heads[1]

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
def test_bad_fields_and_parts_of_batches_are_refused(name):
    fields = {"method.name": name, "method.contrast_rule": "own", "method.queue_size": 0}
    assert list(checks.faults(config(**fields))) == [
        "config.method.contrast_rule = 'own' is not known; use one of paper, released.",
        "config.method.queue_size = 0 must be at least 1.",
    ]
    parts = config(**{"method.name": name, "train.accumulation": 2})
    assert list(checks.faults(parts)) == [
        f"config.train.accumulation = 2: {name} needs whole batches; use 1."
    ]


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
