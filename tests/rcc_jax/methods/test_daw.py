"""DAW: checks by hand, and a step's statistics and loss against plain float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.methods import METHODS, daw, passes
from rcc_jax.methods.passes import count_pixels
from tests.support.plain import Pixelwise, plain_cross_entropy, random_problem, softmax
from tests.support.steps import make_batch

pytestmark = pytest.mark.usefixtures("in_float64")
crossing = jax.jit(daw.crossing, static_argnums=3)


@pytest.mark.parametrize(
    ("right", "wrong", "threshold"),
    [
        ((0.9, 0.01), (0.6, 0.04), 0.75817),
        ((0.95, 0.0025), (0.7, 0.04), 0.85786),
        ((0.9, 0.04), (0.6, 0.01), 0.74183),
        ((0.9, 0.0225), (0.6, 0.0225), 0.75),
    ],
)
def test_the_threshold_is_where_two_gaussians_cross(right, wrong, threshold):
    mean, variance = (np.array(pair) for pair in zip(right, wrong, strict=True))
    found = float(crossing(mean, variance, 0.5, 21))
    assert found == pytest.approx(threshold, abs=1e-5)
    densities = [np.exp(-((found - m) ** 2) / 2 / v) / np.sqrt(v) for m, v in (right, wrong)]
    assert densities[0] == pytest.approx(densities[1], rel=1e-9)


def test_alignment_by_hand():
    memory = {"labeled": jnp.array([1.0, 2, 1]), "unlabeled": jnp.ones(3)}
    method = METHODS["daw"](pseudo_labels="soft", soft_share=1.0)
    found = method.aligned(jnp.array([[[[0.6, 0.3, 0.1]]]]), memory).target[0, 0, 0]
    np.testing.assert_allclose(found, [0.4615, 0.4615, 0.0769], atol=5e-5)


def plain_statistics(memory, labeled, labels, unlabeled):
    """Steps 2, 4 and 5 of the method, pixel by pixel; unlabelled: pairs (probabilities, valid)."""
    memory = {name: np.array(value, np.float64) for name, value in memory.items()}
    num_classes = labeled.shape[-1]
    pixels = {
        "labeled": labeled[labels != 255],
        "unlabeled": np.concatenate([p[valid] for p, valid in unlabeled]),
    }
    for name, probability in pixels.items():
        for c in range(num_classes):
            chosen = probability[probability.argmax(-1) == c].max(-1)
            if len(chosen):
                memory[name][c] = 0.99 * memory[name][c] + 0.01 * chosen.mean()
    right = pixels["labeled"].argmax(-1) == labels[labels != 255]
    for i, group in enumerate((right, ~right)):
        values = pixels["labeled"].max(-1)[group]
        if len(values) >= 10:
            memory["mean"][i] = 0.99 * memory["mean"][i] + 0.01 * values.mean()
            memory["variance"][i] = 0.99 * memory["variance"][i] + 0.01 * values.var(ddof=1)
    (m1, m2), (v1, v2) = memory["mean"], memory["variance"]
    a, b = v1 - v2, 2 * (m1 * v2 - m2 * v1)
    d = m2**2 * v1 - m1**2 * v2 + 2 * v1 * v2 * np.log(np.sqrt(v2) / np.sqrt(v1))
    if b**2 - 4 * a * d > 0:
        root = -2 * d / (b + np.sqrt(b**2 - 4 * a * d))
        memory["threshold"] = np.clip(root, 1 / num_classes, 1)
    return memory


def start(num_classes=5, **changes):
    memory = METHODS["daw"]().memory(None, num_classes, None)
    return {**jax.tree.map(lambda x: x.astype(jnp.float64), memory), **changes}


def test_the_statistics_of_a_batch_equal_a_plain_computation():
    logits, targets = random_problem()
    labeled, weak, partner = (softmax(x) for x in (logits.labeled, logits.weak, logits.partner))
    method = METHODS["daw"]()
    memory = start(mean=jnp.array([0.9, 0.6]), variance=jnp.array([0.01, 0.04]))
    observed = jax.jit(daw.observe)(labeled, targets, [weak, partner])
    found = jax.jit(lambda *x: method.update(*x, None, None))(memory, observed)
    expected = plain_statistics(
        memory,
        labeled,
        np.asarray(targets.labels),
        [(weak, np.asarray(targets.valid)), (partner, np.asarray(targets.partner_valid))],
    )
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)
    assert float(found["threshold"]) != float(memory["threshold"])


def test_too_few_pixels_leave_the_statistics_alone():
    memory = start()
    nothing = (jnp.zeros(5), jnp.zeros(5))
    few = (jnp.array([9.0, 0]), jnp.array([0.9, 0]), jnp.array([0.1, 0]))
    observed = {"labeled": nothing, "unlabeled": nothing, "confidence": few}
    found = METHODS["daw"]().update(memory, observed, None, None)
    for name in ("labeled", "unlabeled", "mean", "variance"):
        np.testing.assert_array_equal(found[name], memory[name])


def plain_loss(logits, targets, memory):
    """UniMatch's loss with aligned pseudo labels."""
    valid, partner_valid = np.asarray(targets.valid), np.asarray(targets.partner_valid)
    ratio = np.asarray(memory["labeled"] / memory["unlabeled"])

    def labeled(weak):
        aligned = softmax(weak) * ratio
        aligned /= aligned.sum(-1, keepdims=True)
        return aligned.argmax(-1), aligned.max(-1) >= float(memory["threshold"])

    def mean(student, label, kept, valid):
        return (plain_cross_entropy(student, label) * (kept & valid)).sum() / valid.sum()

    (own, kept), (partner, partner_kept) = labeled(logits.weak), labeled(logits.partner)
    strong = []
    for student, pasted in zip(logits.strong, map(np.asarray, targets.pasted), strict=True):
        arrays = (partner, own), (partner_kept, kept), (partner_valid, valid)
        strong.append(mean(student, *(np.where(pasted, *pair) for pair in arrays)))
    perturbed = mean(logits.perturbed, own, kept, valid)
    supervised = np.nanmean(plain_cross_entropy(logits.labeled, np.asarray(targets.labels)))
    return (supervised + (np.mean(strong) + perturbed) / 2) / 2


def test_the_loss_equals_a_plain_computation():
    logits, targets = random_problem()
    method = METHODS["daw"]()
    memory = start(labeled=jnp.array([0.2, 0.5, 0.8, 0.6, 0.4]), threshold=jnp.asarray(0.8))

    @jax.jit
    def found(logits):
        labels = (method.aligned(jax.nn.softmax(x), memory) for x in (logits.weak, logits.partner))
        return method.sum_terms(logits, targets, count_pixels(targets), labels=daw.Labels(*labels))

    logits = jax.tree.map(lambda x: x.astype(jnp.float64), logits)
    expected = plain_loss(logits, targets, memory)
    np.testing.assert_allclose(found(logits)[0], expected, rtol=1e-12)
    unaligned = plain_loss(logits, targets, start(threshold=memory["threshold"]))
    assert abs(unaligned - expected) > 0.001


class OnPixels(METHODS["daw"]):
    """DAW with logits that are functions of a pixel's colour."""

    def passes(self, nets, batch, key):
        own, partner = batch["unlabeled"], batch["partner"]
        return passes.Logits(
            labeled=nets.student(batch["labeled"]["image"]),
            strong=(nets.student(own["strong1"]), nets.student(own["strong2"])),
            weak=nets.student(own["weak"]),
            partner=nets.teacher(partner["weak"]),
            perturbed=nets.teacher(own["weak"]),
        )


def test_a_step_labels_with_its_own_statistics():
    method, nets = OnPixels(), Pixelwise()
    batch = make_batch(method, rows=3)
    memory = start(mean=jnp.array([0.9, 0.6]), variance=jnp.array([0.01, 0.04]))

    @jax.jit
    def step(batch):
        counts = method.counts(batch)
        return method.loss(nets, batch, memory, counts=counts, parts=1, clock=None, key=None)

    found = step(batch)
    logits, targets = method.passes(nets, batch, None), passes.targets(batch, 2)
    valid = batch["unlabeled"]["valid"], batch["partner"]["valid"]
    probabilities = [softmax(x) for x in (logits.weak, logits.partner)]
    new = plain_statistics(
        memory,
        softmax(logits.labeled),
        np.asarray(targets.labels),
        list(zip(probabilities, valid, strict=True)),
    )
    expected = plain_loss(logits, targets, new)
    np.testing.assert_allclose(found.loss, expected, rtol=1e-12)
    np.testing.assert_allclose(found.terms["threshold"], new["threshold"], rtol=1e-12)
    # Those of the steps before would give another loss.
    assert abs(plain_loss(logits, targets, memory) - expected) > 1e-6
    after = method.update(memory, found.observations, None, None)
    for name, value in new.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-12, err_msg=name)


def test_with_equal_averages_and_a_fixed_threshold_it_is_unimatch():
    logits, targets = random_problem()
    counts, method = count_pixels(targets), METHODS["daw"]()
    memory = start(labeled=jnp.full(5, 0.3), unlabeled=jnp.full(5, 0.3))
    labels = (method.aligned(jax.nn.softmax(x), memory) for x in (logits.weak, logits.partner))
    found, _ = method.sum_terms(logits, targets, counts, labels=daw.Labels(*labels))
    expected, _ = METHODS["unimatch"](confidence_threshold=0.95).sum_terms(logits, targets, counts)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_average_is_only_evaluated():
    (teacher,) = METHODS["daw"]().teachers
    assert not teacher.labels
