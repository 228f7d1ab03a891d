"""UniMatch V2: complementary dropout, and what each network sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.methods import passes
from rcc_jax.methods.unimatch_v2 import UniMatchV2, divide_channels
from tests.support.steps import make_batch


def views(rows=7):
    """Features of ones of two levels with 64 channels and one with 32, for `rows` images."""
    return [jnp.ones((2 * rows, 3, 2, channels)) for channels in (64, 64, 32)]


def test_a_channel_is_dropped_in_one_view_and_doubled_in_the_other():
    found = divide_channels(views(), jax.random.key(0))
    for level in found:
        first, second = (np.asarray(x) for x in passes.separate(level))
        # Whole channels, the same for all tokens.
        np.testing.assert_array_equal(first, np.broadcast_to(first[:, :1, :1], first.shape))
        np.testing.assert_array_equal(first + second, 2)
        spared = (first == 1).all(axis=(1, 2, 3))
        assert spared.sum() == 3
        assert set(np.unique(first[~spared])) == {0.0, 2.0}
        assert 0.35 < (first[~spared] == 0).mean() < 0.65
    # One draw for all levels of a size, and the same images are spared in all.
    np.testing.assert_array_equal(found[0], found[1])
    ones = [(np.asarray(level) == 1).all(axis=(1, 2, 3)) for level in found]
    np.testing.assert_array_equal(ones[0], ones[2])


def test_a_single_image_is_not_spared():
    (first, second, *_) = passes.separate(divide_channels(views(1), jax.random.key(1))[0])
    assert set(np.unique(first)) == {0.0, 2.0}
    np.testing.assert_array_equal(first + second, 2)


class Recorded:
    """Networks that record what they are shown; the features of an image are its mean colour."""

    def __init__(self):
        self.student, self.seen, self.labeled = self, [], []

    def __call__(self, images):
        self.seen.append(("student", images))
        return self.logits(images)

    def logits(self, images):
        return images.astype(jnp.float32)

    def encode(self, images):
        self.seen.append(("encode", images))
        return images.astype(jnp.float32)

    def decode(self, features, size):
        return features

    def teacher(self, images):
        self.seen.append(("teacher", images))
        return self.logits(images)


def test_the_student_sees_labelled_and_strong_views_and_the_teacher_weak_ones():
    method, nets = UniMatchV2(), Recorded()
    batch = make_batch(method, rows=2)
    logits = method.passes(nets, batch, jax.random.key(0))
    kinds = [kind for kind, _ in nets.seen]
    assert sorted(kinds) == ["encode", "student", "teacher", "teacher"]
    shown = dict(zip(kinds, (images for _, images in nets.seen), strict=True))
    np.testing.assert_array_equal(shown["student"], batch["labeled"]["image"])
    np.testing.assert_array_equal(logits.weak, batch["unlabeled"]["weak"])
    np.testing.assert_array_equal(logits.partner, batch["partner"]["weak"])
    mixed = passes.mixed_views(batch, 2)
    np.testing.assert_array_equal(passes.separate(shown["encode"]), mixed)
    # Divided between the views: the two add up to the features twice where the images are equal.
    spared = sum(
        int(np.array_equal(found, view.astype(np.float32)))
        for found, view in zip(logits.strong[0], mixed[0], strict=True)
    )
    assert spared == 1


def test_loss_is_half_of_the_labelled_term_and_of_the_mean_of_the_views():
    method = UniMatchV2()
    assert method.ema_decay == 0.996
    assert [teacher.labels for teacher in method.teachers] == [True]
    rng = np.random.default_rng(0)
    batch = make_batch(method, rows=2)
    targets, shape = passes.targets(batch, 2), (2, 17, 17, 5)
    drawn = [jnp.asarray(6 * rng.standard_normal(shape), jnp.float32) for _ in range(5)]
    logits = passes.Logits(
        labeled=drawn[0], strong=tuple(drawn[1:3]), weak=drawn[3], partner=drawn[4]
    )
    total, terms = method.sum_terms(logits, targets, passes.count_pixels(targets))
    mean = (terms["loss_strong1"] + terms["loss_strong2"]) / 2
    assert terms["loss_strong1"] > 0
    assert float(total) == pytest.approx(float(terms["loss_labeled"] + mean) / 2)
