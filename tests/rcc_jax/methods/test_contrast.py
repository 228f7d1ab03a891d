"""U2PL's contrastive term by hand, and against plain float64 numpy."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from rcc_jax.methods import contrast, losses, ring
from tests.support.plain import CLASSES, plain_entropy, plain_ranks, softmax

pytestmark = pytest.mark.usefixtures("in_float64")

FEATURES = 6
parts = jax.jit(contrast.parts, static_argnums=1)
term = jax.jit(contrast.loss, static_argnums=6)


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
    found = jax.device_get(parts(jax.tree.map(jnp.asarray, pixels), rule))
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
    found = {rule: parts(pixels, rule).negative[:, 0] for rule in ("paper", "released")}
    assert found["paper"].tolist() == [False, True, True, False, False]
    assert not found["released"].any()


def test_the_unlikeliest_class_of_many_is_no_negative():
    logits = -jnp.arange(23.0)[None]
    pixels = contrast.Pixels(jnp.zeros(1, int), jnp.zeros(1, bool), *jnp.ones((2, 1), bool), logits)
    expected = [3 <= rank < 20 for rank in range(23)]
    assert parts(pixels, "paper").negative[:, 0].tolist() == expected


def two_classes(student, positive, negative, rule="paper"):
    """L_c of two pixels of classes 0 and 1 whose means are given; class 1 has no negatives."""
    known = jnp.eye(2, dtype=bool)
    found = contrast.Parts(known, known, jnp.zeros_like(known))
    keys = jnp.zeros((2, 1, 3)).at[0, 0].set(jnp.array(negative))
    push = ring.Push(keys, jnp.array([1, 0]))
    vectors = [jnp.stack([jnp.array(each), jnp.ones(3)]) for each in (student, positive)]
    return term(*vectors, found, ring.empty(2, 4, 3), push, jax.random.key(0), rule)


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
    assert float(term(*problem, jax.random.key(0), "paper")) == 0


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


def test_doubt_by_hand():
    rng = np.random.default_rng(5)
    logits = 2 * rng.normal(size=(2, 9, 9, CLASSES))
    valid = rng.random((2, 9, 9)) < 0.8
    entropy = plain_entropy(logits)
    low, high = np.percentile(entropy[valid], [20, 80])
    found = contrast.doubt(jnp.asarray(logits), jnp.asarray(valid), 0.2)
    np.testing.assert_array_equal(found.low, valid & (entropy <= low))
    np.testing.assert_array_equal(found.high, valid & (entropy >= high))
