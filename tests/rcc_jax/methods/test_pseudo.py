"""Soft and hard pseudo labels against values by hand and plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.methods import METHODS, pseudo
from rcc_jax.methods.passes import count_pixels
from tests.support.plain import plain_soft_label, random_problem


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        ((0.97, 0.02, 0.01), (1, 0, 0)),
        ((0.6, 0.3, 0.08, 0.02), (0.6122, 0.3061, 0.0816, 0)),
        ((0.5, 0.45, 0.05), (0.5263, 0.4737, 0)),
        ((0.05, 0.45, 0.5), (0, 0.4737, 0.5263)),
        # Classes as likely as the last one count, too.
        ((0.5, 0.25, 0.25), (0.5, 0.25, 0.25)),
    ],
)
def test_soft_labels_by_hand(probability, expected):
    found = pseudo.soft(jnp.log(jnp.asarray([[[probability]]])), 0.95)
    np.testing.assert_allclose(found.target[0, 0, 0], expected, atol=5e-5)
    assert found.kept.all()


@pytest.mark.parametrize("mass", [0.0, 0.5, 0.95, 1.0])
def test_soft_labels_equal_the_rule_pixel_by_pixel(mass):
    logits = np.random.default_rng(0).normal(scale=2, size=(2, 5, 5, 6))
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = [plain_soft_label(each, mass) for each in probability.reshape(-1, 6)]
    found = pseudo.soft(jnp.asarray(logits, jnp.float32), mass).target
    np.testing.assert_allclose(found.reshape(-1, 6), expected, atol=1e-5)


def test_a_soft_label_of_one_class_is_a_hard_label():
    logits, _ = random_problem()
    hard = pseudo.hard(logits.weak, 0.0)
    soft = pseudo.soft(logits.weak, 0.0)
    np.testing.assert_array_equal(jnp.argmax(soft.target, -1), hard.target)
    np.testing.assert_allclose(
        pseudo.cross_entropy(logits.strong[0], soft.target),
        pseudo.cross_entropy(logits.strong[0], hard.target),
        atol=1e-5,
    )


@pytest.mark.parametrize("name", ["fixmatch", "unimatch"])
def test_every_pixel_counts_with_soft_labels(name):
    logits, targets = random_problem()
    strong = METHODS[name].views.strong
    method = METHODS[name](pseudo_labels="soft", soft_share=0.0)
    hard = METHODS[name](confidence_threshold=0.0)
    if strong == 1:
        logits = type(logits)(logits.labeled, logits.strong[:1], logits.weak, logits.partner)
        targets = type(targets)(
            targets.labels, targets.valid, targets.partner_valid, targets.pasted[:1]
        )
    counts = count_pixels(targets)
    loss, terms = method.sum_terms(logits, targets, counts)
    np.testing.assert_allclose(loss, hard.sum_terms(logits, targets, counts)[0], rtol=1e-5)
    assert float(terms["kept_ratio"]) == 1
    gradient = jax.grad(lambda x: method.sum_terms(x, targets, counts)[0])(logits)
    assert not np.any(gradient.weak)
    assert not np.any(gradient.partner)
