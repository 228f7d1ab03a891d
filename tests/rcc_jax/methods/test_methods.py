"""The loss of each method against recorded numbers, and its parts against each other."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax import consensus
from rcc_jax.methods import METHODS
from rcc_jax.methods.cutmix import box_masks, cutmix
from rcc_jax.methods.passes import Logits, Targets, count_labeled, count_pixels
from rcc_jax.models.network import normalize
from rcc_jax.options import options
from tests.support.plain import (
    random_problem,
)

UNIMATCH, RCC = METHODS["unimatch"](), METHODS["rcc"]()


def channels_last(array):
    return np.moveaxis(array, 1, -1)


@pytest.fixture(scope="module")
def oracle(small_and_whole_oracles):
    return np.load(small_and_whole_oracles / "unimatch_losses_pascal.npz")


def oracle_problem(oracle, strong_views):
    def take(name):
        return oracle[f"pascal/in/{name}"]

    logits = Logits(
        labeled=channels_last(take("logits_x")),
        strong=tuple(channels_last(take(f"logits_u_s{i + 1}")) for i in range(strong_views)),
        perturbed=channels_last(take("logits_u_w_fp")),
        weak=channels_last(take("logits_u_w")),
        partner=channels_last(take("logits_u_w_mix")),
    )
    targets = Targets(
        labels=take("mask_x").astype(np.int32),
        valid=take("ignore_mask") != 255,
        partner_valid=take("ignore_mask_mix") != 255,
        pasted=tuple(take(f"cutmix_box{i + 1}") == 1 for i in range(strong_views)),
    )
    return logits, targets


@functools.partial(jax.jit, static_argnums=0)
def total(method, logits, targets):
    return method.sum_terms(logits, targets, count_pixels(targets))


def test_unimatch_equals_the_oracle(oracle):
    logits, targets = oracle_problem(oracle, 2)
    (loss, terms), gradient = jax.jit(
        jax.value_and_grad(lambda x: total(UNIMATCH, x, targets), has_aux=True)
    )(logits)
    names = {
        "loss_x": terms["loss_labeled"],
        "loss_u_s1": terms["loss_strong1"],
        "loss_u_s2": terms["loss_strong2"],
        "loss_u_w_fp": terms["loss_perturbed"],
        "mask_ratio": terms["kept_ratio"],
        "loss": loss,
    }
    for name, value in names.items():
        np.testing.assert_allclose(value, oracle[f"pascal/unimatch/{name}"], rtol=1e-5)
    gradients = {
        "x": gradient.labeled,
        "u_w": gradient.weak,
        "u_w_mix": gradient.partner,
        "u_w_fp": gradient.perturbed,
        "u_s1": gradient.strong[0],
        "u_s2": gradient.strong[1],
    }
    for name, value in gradients.items():
        expected = channels_last(oracle[f"pascal/unimatch/grad_logits_{name}"])
        np.testing.assert_allclose(value, expected, atol=1e-5 * max(np.abs(expected).max(), 1e-3))


def test_fixmatch_equals_the_oracle(oracle):
    method = METHODS["fixmatch"]()
    loss, terms = total(method, *oracle_problem(oracle, 1))
    assert set(terms) == {"loss_labeled", "loss_strong1", "kept_ratio"}
    for name, value in {
        "loss_x": terms["loss_labeled"],
        "loss_u_s": terms["loss_strong1"],
        "mask_ratio": terms["kept_ratio"],
        "loss": loss,
    }.items():
        np.testing.assert_allclose(value, oracle[f"pascal/fixmatch/{name}"], rtol=1e-5)


@pytest.mark.parametrize("kind", ["l2", "rank"])
def test_rcc_and_cc_are_unimatch_with_a_consensus_term(kind):
    problem = random_problem()
    own = METHODS["rcc" if kind == "rank" else "cc"]()
    loss, terms = total(METHODS["unimatch"](consensus=kind), *problem)
    expected, expected_terms = total(own, *problem)
    assert float(loss) == float(expected)
    assert terms == expected_terms


def test_confident_pixels_of_the_consensus_are_those_of_the_pseudo_labels():
    logits, targets = random_problem()
    method = METHODS["unimatch"](consensus="rank", top_n=3, consensus_pixels="confident")
    _, terms = total(method, logits, targets)
    expected = []
    for student, pasted, valid in zip(
        logits.strong, targets.pasted, targets.strong_valid, strict=True
    ):
        teacher = jnp.where(pasted[..., None], logits.partner, logits.weak)
        confident = jnp.max(jax.nn.softmax(teacher), -1) >= 0.95
        mean = consensus.rcc_loss(teacher, student, top_n=3, where=valid & confident)
        expected.append(mean * jnp.sum(valid & confident) / jnp.sum(valid))
    np.testing.assert_allclose(terms["loss_consensus"], np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize("kind", ["l2", "ce", "kl", "rank"])
def test_consensus_adds_one_weighted_term_on_mixed_teachers(kind):
    logits, targets = random_problem()
    name = "rcc" if kind == "rank" else "cc"
    method = METHODS[name](consensus=kind, consensus_weight=0.3, top_n=3)
    loss, terms = total(method, logits, targets)
    plain, _ = total(UNIMATCH, logits, targets)
    expected = []
    for student, pasted in zip(logits.strong, targets.pasted, strict=True):
        teacher = jnp.where(pasted[..., None], logits.partner, logits.weak)
        valid = jnp.where(pasted, targets.partner_valid, targets.valid)
        if kind == "rank":
            expected.append(consensus.rcc_loss(teacher, student, top_n=3, where=valid))
        else:
            expected.append(consensus.cc_loss(teacher, student, top_n=3, kind=kind, where=valid))
    np.testing.assert_allclose(terms["loss_consensus"], np.mean(expected), rtol=1e-5)
    np.testing.assert_allclose(loss, plain + 0.3 * terms["loss_consensus"] / 2, rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda x: total(method, x, targets)[0]))(logits)
    assert not np.any(gradient.weak)
    assert not np.any(gradient.partner)
    for student, valid in zip(gradient.strong, targets.strong_valid, strict=True):
        np.testing.assert_array_equal(np.any(student, axis=-1), valid)


def test_consensus_of_probabilities_and_of_confident_pixels():
    logits, targets = random_problem()
    method = dataclasses.replace(RCC, consensus_input="probabilities", consensus_pixels="confident")
    _, terms = total(method, logits, targets)
    expected = []
    for student, pasted, valid in zip(
        logits.strong, targets.pasted, targets.strong_valid, strict=True
    ):
        teacher = jax.nn.softmax(jnp.where(pasted[..., None], logits.partner, logits.weak))
        kept = valid & (teacher.max(axis=-1) >= method.confidence_threshold)
        assert 0 < kept.sum() < valid.sum()
        pixel_losses = consensus.pixel_rcc_loss(teacher, jax.nn.softmax(student))
        expected.append(jnp.sum(pixel_losses[kept]) / valid.sum())
    np.testing.assert_allclose(terms["loss_consensus"], np.mean(expected), rtol=1e-5)
    assert total(RCC, logits, targets)[1]["loss_consensus"] > 1.1 * terms["loss_consensus"]


@pytest.mark.parametrize("method", [UNIMATCH, RCC], ids=["unimatch", "rcc"])
def test_parts_of_a_batch_add_up_to_the_whole(method):
    logits, targets = random_problem()
    counts = count_pixels(targets)
    whole = total(method, logits, targets)
    of_part = jax.jit(functools.partial(method.sum_terms, parts=2))
    parts = [
        of_part(*jax.tree.map(lambda x, rows=rows: x[rows], (logits, targets)), counts)
        for rows in (np.s_[:1], np.s_[1:])
    ]
    summed = jax.tree.map(jnp.add, *parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), summed, whole)


def test_nothing_labelled_nothing_valid_is_zero_and_finite():
    logits, targets = random_problem()
    targets = dataclasses.replace(
        targets,
        labels=jnp.full_like(targets.labels, 255),
        valid=np.zeros_like(targets.valid),
        partner_valid=np.zeros_like(targets.valid),
    )
    for labeled_loss in options(METHODS["rcc"])["labeled_loss"].choices:
        method = dataclasses.replace(RCC, labeled_loss=labeled_loss)
        (loss, _), gradient = jax.jit(
            jax.value_and_grad(lambda x, m=method: total(m, x, targets), has_aux=True)
        )(logits)
        assert loss == 0
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_hard_example_mining_scales_with_the_images():
    logits, targets = random_problem()
    method = METHODS["supervised"](labeled_loss="ohem", ohem_threshold=0.0, ohem_min_kept=10)
    counts = count_labeled(targets.labels)
    found = method.labeled_term(logits.labeled, targets.labels, counts, 1)
    log_p = jax.nn.log_softmax(logits.labeled)
    labels = np.asarray(targets.labels)
    losses = -np.take_along_axis(log_p, np.where(labels == 255, 0, labels)[..., None], -1)[..., 0]
    hardest = np.sort(losses[labels != 255])[-40:]
    np.testing.assert_allclose(found, hardest.mean(), rtol=1e-5)


def test_boxes_become_masks_and_paste():
    boxes = np.array([[0, 1, 2, 3], [0, 0, 0, 0]], np.int32)
    mask = np.asarray(box_masks(boxes, 3, 4))
    expected = np.zeros((2, 3, 4), bool)
    expected[0, 0:2, 1:3] = True
    np.testing.assert_array_equal(mask, expected)
    own, partner = np.zeros((2, 3, 4, 3), np.uint8), np.full((2, 3, 4, 3), 7, np.uint8)
    pasted = np.asarray(cutmix(mask, partner, own))
    np.testing.assert_array_equal(pasted, np.where(expected[..., None], partner, own))


def test_normalisation_is_imagenets():
    images = np.array([[[0, 128, 255]]], np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(normalize(images), (images / 255 - mean) / std, atol=1e-6)
