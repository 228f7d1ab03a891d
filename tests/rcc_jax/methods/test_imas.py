"""iMAS: the score by hand, the ranking, and a step against plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cityscapes_1_2
from rcc_jax.config import method_group
from rcc_jax.methods import METHODS, imas
from tests.support.plain import (
    Pixelwise,
    loss_of,
    numbered,
    plain,
    plain_cross_entropy,
    plain_labeled,
    plain_pseudo,
)
from tests.support.steps import make_batch

pytestmark = pytest.mark.usefixtures("in_float64")
agreement, mix_by_rank = jax.jit(imas.agreement), jax.jit(imas.mix_by_rank)


def logits_of(labels, sure):
    """[1, 1, pixels, 3] logits with these labels; the first `sure` pixels are confident."""
    scale = np.where(np.arange(len(labels)) < sure, 50.0, 0.1)
    return jnp.asarray((np.eye(3)[labels] * scale[:, None])[None, None])


def test_the_score_by_hand():
    a, b = [0, 0, 1, 1, 2, 2, 1, 0], [0, 0, 1, 1, 1, 2, 2, 0]
    valid = jnp.ones((1, 1, 8), bool)
    found = agreement(logits_of(a, 4), logits_of(b, 2), valid, 0.95)
    np.testing.assert_allclose(found, [0.1625], atol=1e-9)
    # The shares of a network go with its own confident pixels: wIoU 0.238 times 1, 0.314 times 1/4.
    a, b = [1, 1, 1, 1, 1, 1, 2, 0], [1, 1, 2, 2, 2, 2, 2, 0]
    found = agreement(logits_of(a, 2), logits_of(b, 8), valid, 0.95)
    np.testing.assert_allclose(found, [(5 / 21 + 22 / 70 / 4) / 2], atol=1e-9)
    same = logits_of(a, 8)
    np.testing.assert_allclose(agreement(same, same, valid, 0.95), [1.0])
    background = logits_of([0] * 8, 8)
    np.testing.assert_allclose(agreement(background, background, valid, 0.95), [0.0])
    # Padding counts nowhere.
    assert float(agreement(same, same, valid.at[..., 4:].set(False), 0.95)[0]) == 1


def test_the_threshold_counts_for_soft_labels_too():
    """It decides the score h: Cityscapes has its own."""
    config = cityscapes_1_2.get_config("method=imas")
    config.method.pseudo_labels = "soft"
    assert method_group.resolved(config)["method"]["confidence_threshold"] == 0.7


def test_the_best_image_is_mixed_with_the_worst():
    scores = jnp.array([0.1, 0.9, 0.5])
    images = numbered(0, rows=3)
    for seed in range(50):
        mixed, is_mixed = mix_by_rank(images, scores, jax.random.key(seed))
        np.testing.assert_array_equal(mixed.image[..., 0], mixed.target)
        found = [set(np.unique(target)) for target in np.asarray(mixed.target)]
        assert found[0] <= {0, 1}
        assert found[1] <= {0, 1}
        assert found[2] == {2}
        if not bool(is_mixed):
            np.testing.assert_array_equal(mixed.target, images.target)
    draws = [bool(mix_by_rank(images, jnp.full(3, p), jax.random.key(0))[1]) for p in (0.0, 1.0)]
    assert draws == [False, True]


def test_hard_images_are_changed_less():
    strong, weak = jnp.full((2, 1, 1, 3), 200, jnp.uint8), jnp.full((2, 1, 1, 3), 100, jnp.uint8)
    found = imas.blend(strong, weak, jnp.array([0.0, 0.25]))
    assert found[:, 0, 0, 0].tolist() == [100, 125]
    assert found.dtype == jnp.uint8


@pytest.mark.parametrize(
    ("key", "kind"),
    [*((key, "hard") for key in range(4)), pytest.param(0, "soft", marks=pytest.mark.slow)],
)
def test_a_step_equals_a_plain_computation_of_what_it_mixed(key, kind):
    method = METHODS["imas"](confidence_threshold=0.5, pseudo_labels=kind)
    batch = make_batch(method, rows=3)

    class Nets(Pixelwise):
        def probe(self, name, images):
            assert name == "student"
            return self.student(images)

    found = loss_of(method, batch, key, Nets())
    u = batch["unlabeled"]
    teacher = plain(u["weak"], "teacher")
    scores = agreement(*(jnp.asarray(x) for x in (plain(u["weak"]), teacher, u["valid"])), 0.5)
    assert 0 < float(scores.min()) < 1
    target, sure = plain_pseudo(teacher, kind, 0.5)
    weak = imas.Mixable(
        *map(jnp.asarray, (u["weak"], target, sure & u["valid"], teacher, u["valid"]))
    )
    mixed, is_mixed = mix_by_rank(weak, scores, jax.random.key(key))

    def term(images, wanted):
        pixel_losses = plain_cross_entropy(plain(images), np.asarray(wanted.target))
        kept = np.asarray(wanted.kept) * np.asarray(scores)[:, None, None]
        return (pixel_losses * kept).sum() / kept.size

    strong = term(imas.blend(jnp.asarray(u["strong1"]), jnp.asarray(u["weak"]), scores), weak)
    unlabeled = (strong + term(mixed.image, mixed)) / 2 if is_mixed else strong
    np.testing.assert_allclose(found.terms["loss_strong1"], strong, rtol=1e-9)
    np.testing.assert_allclose(found.loss, plain_labeled(batch) + 3 * unlabeled, rtol=1e-9)
