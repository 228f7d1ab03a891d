"""Mean Teacher, CutMix-Seg and AugSeg: checks by hand and losses against plain float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.methods import METHODS, augseg, losses
from rcc_jax.methods.base import Clock
from tests.support.plain import (
    CLASSES,
    Pixelwise,
    loss_of,
    mixed_by_box,
    numbered,
    plain,
    plain_cross_entropy,
    plain_labeled,
    plain_pseudo,
    softmax,
)
from tests.support.steps import make_batch

pytestmark = pytest.mark.usefixtures("in_float64")
mix = jax.jit(augseg.mix)


def test_mean_teacher_equals_a_plain_computation():
    method = METHODS["mean_teacher"](consistency_weight=7.0)
    batch = make_batch(method, rows=3)
    found = loss_of(method, batch)
    x, u = batch["labeled"]["image"], batch["unlabeled"]["weak"]
    counted = np.stack([batch["labeled"]["label"] != 255, batch["unlabeled"]["valid"]])
    difference = np.stack([softmax(plain(v)) - softmax(plain(v, "teacher")) for v in (x, u)])
    consistency = np.mean((difference**2)[counted])
    np.testing.assert_allclose(found.terms["loss_consistency"], consistency, rtol=1e-9)
    np.testing.assert_allclose(found.loss, plain_labeled(batch) + 7 * consistency, rtol=1e-9)


def test_cutmix_seg_equals_a_plain_computation():
    method = METHODS["cutmix_seg"](confidence_threshold=0.8, consistency_weight=2.0)
    batch = make_batch(method, rows=3)
    found = loss_of(method, batch)
    valid = mixed_by_box(batch, "valid")
    student = softmax(plain(mixed_by_box(batch, "strong1")))
    teacher = softmax(plain(mixed_by_box(batch, "weak"), "teacher"))
    share = np.mean((teacher.max(-1) >= 0.8)[valid])
    assert 0.1 < share < 0.95
    consistency = share * np.mean(((student - teacher) ** 2).sum(-1)[valid])
    np.testing.assert_allclose(found.terms["loss_consistency"], consistency, rtol=1e-9)
    np.testing.assert_allclose(found.loss, plain_labeled(batch) + 2 * consistency, rtol=1e-9)


def test_a_teacher_that_is_never_sure_leaves_the_labels_alone():
    method = METHODS["cutmix_seg"](confidence_threshold=1.0, consistency_weight=2.0)
    batch = make_batch(method, rows=3)
    np.testing.assert_allclose(loss_of(method, batch).loss, plain_labeled(batch), rtol=1e-12)


@pytest.mark.parametrize("name", ["mean_teacher", "cutmix_seg"])
def test_a_teacher_like_the_student_leaves_no_difference(name):
    method = METHODS[name]()
    batch = jax.tree.map(jnp.asarray, make_batch(method, rows=2))
    batch["unlabeled"]["strong1"] = batch["unlabeled"]["weak"]
    if name == "cutmix_seg":
        batch["partner"]["strong1"] = batch["partner"]["weak"]
    nets = Pixelwise()

    def consistency(of_student):
        nets.of_student, nets.of_teacher = of_student, Pixelwise().of_teacher
        found = method.loss(
            nets, batch, None, counts=method.counts(batch), parts=1, clock=None, key=None
        )
        return found.terms["loss_consistency"]

    value, gradient = jax.jit(jax.value_and_grad(consistency))(Pixelwise().of_teacher)
    # A compiled program rounds the two networks differently.
    assert float(value) < 1e-30
    assert np.abs(gradient).max() < 1e-14


def test_squared_difference_by_hand():
    p = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]))
    assert float(losses.squared_difference(p[0], p[1])) == pytest.approx(0.06)


def test_certainty_by_hand():
    two = np.full(21, 1e-300)
    two[:2] = 0.5
    rows = np.log([np.full(21, 1 / 21), np.eye(21)[3] + 1e-300, two])
    found = augseg.certainty(jnp.asarray(rows)[:, None, None])
    np.testing.assert_allclose(found, [0, 1, 0.3862], atol=5e-5)


def test_boxes_of_augseg_lie_around_their_places():
    masks = augseg.boxes(jax.random.key(0), augseg.side_outside(jnp.asarray(0.75)), (32, 64), 4000)
    areas = np.asarray(masks.sum((1, 2)))
    # A quarter of the image at most, less at the border; half of the side each way.
    assert areas.max() == 32 * 64 // 4
    assert masks.any(2).sum(1).max() == 16
    # Centres start at an eighth of the side, so a box of half of it starts at 0 and ends at 12.
    ends = 32 - np.asarray(masks.any(2))[:, ::-1].argmax(1)
    assert ends.min() == 32 // 8 + 8
    assert ends.max() == 32
    assert not augseg.boxes(jax.random.key(0), jnp.asarray(0.0), (32, 64), 5).any()


@pytest.mark.parametrize("kind", ["hard", pytest.param("soft", marks=pytest.mark.slow)])
def test_augseg_equals_a_plain_computation_of_what_it_mixed(kind):
    method = METHODS["augseg"](confidence_threshold=0.5, pseudo_labels=kind)
    batch = make_batch(method, rows=4)
    found = loss_of(method, batch)
    weak = plain(batch["unlabeled"]["weak"], "teacher")
    target, sure = plain_pseudo(weak, kind, 0.5)
    strong = augseg.Mixable(
        *map(
            jnp.asarray,
            (
                batch["unlabeled"]["strong1"],
                target,
                sure & batch["unlabeled"]["valid"],
                weak,
                batch["unlabeled"]["valid"],
            ),
        )
    )
    labels = batch["labeled"]["label"].astype(int)
    as_shares = np.eye(CLASSES)[np.where(labels == 255, 0, labels)]
    known = augseg.Mixable(
        *map(
            jnp.asarray,
            (
                batch["labeled"]["image"],
                as_shares if kind == "soft" else labels,
                labels != 255,
                np.zeros_like(weak),
                np.zeros_like(batch["unlabeled"]["valid"]),
            ),
        )
    )
    mixed = mix(strong, known, jax.jit(augseg.certainty)(weak), jax.random.key(0))
    pixel_losses = plain_cross_entropy(plain(mixed.image), np.asarray(mixed.target))
    kept = np.asarray(mixed.kept)
    unlabeled = pixel_losses[kept].sum() / kept.size
    np.testing.assert_allclose(found.terms["loss_strong1"], unlabeled, rtol=1e-9)
    np.testing.assert_allclose(found.loss, plain_labeled(batch) + unlabeled, rtol=1e-9)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_labelled_pieces_enter_doubtful_images_only(score):
    mixed = mix(numbered(0), numbered(100), jnp.full(6, score), jax.random.key(3))
    # Image, target and all masks stay together.
    np.testing.assert_array_equal(mixed.image[..., 0], mixed.target)
    np.testing.assert_array_equal(mixed.unlabeled, mixed.target < 100)
    assert bool((mixed.target >= 100).any()) == (score == 0)
    # Every image has pixels of at most one other unlabelled image.
    for row, target in enumerate(np.asarray(mixed.target)):
        others = set(np.unique(target[target < 100])) - {row}
        assert len(others) <= 1


def test_the_first_epoch_copies_and_later_ones_average():
    (teacher,) = METHODS["augseg"](ema_decay=0.9).teachers
    decays = [float(teacher.decay(Clock(jnp.asarray(t), 4, 20))) for t in (0, 3, 4, 50)]
    np.testing.assert_allclose(decays, [0, 0, 0.8, 0.9])
    (teacher,) = METHODS["mean_teacher"]().teachers
    assert float(teacher.decay(Clock(jnp.asarray(0), 4, 20))) == 0.99
