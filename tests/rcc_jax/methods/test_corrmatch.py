"""CorrMatch: checks by hand, its terms against plain float64 numpy, and its head."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rcc_jax.methods import METHODS, corrmatch
from rcc_jax.methods.passes import Logits, count_pixels
from rcc_jax.methods.pseudo_regions import above_the_middle, grow
from rcc_jax.models import correlation
from rcc_jax.models.resize import interpolation_matrix
from tests.support.plain import (
    assert_close,
    plain_cross_entropy,
    random_problem,
    softmax,
)
from tests.support.steps import Setup, SmallNetwork, make_batch, make_method

pytestmark = pytest.mark.usefixtures("in_float64")


def vectors(pixels=7, rows=2, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(2 * rng.normal(size=(rows, pixels, classes))) for _ in range(3)]


@pytest.mark.parametrize("block", [1024, 3])
def test_pixels_send_their_logits(block, monkeypatch):
    monkeypatch.setattr(correlation, "BLOCK", block)
    values, sender, receiver = vectors()

    def plain(z, f, g):
        shares = jax.nn.softmax(f @ jnp.swapaxes(g, 1, 2) / np.sqrt(5), axis=-1)
        return jnp.swapaxes(shares, 1, 2) @ z

    shares = softmax(np.einsum("bik,bjk->bij", sender, receiver) / np.sqrt(5))
    np.testing.assert_allclose(correlation.attention(sender, receiver), shares, rtol=1e-12)
    np.testing.assert_allclose(shares.sum(-1), 1)
    expected = np.zeros(values.shape)
    for i in range(7):
        expected += shares[:, i, :, None] * np.asarray(values)[:, i, None]
    np.testing.assert_allclose(
        correlation.spread(values, sender, receiver), expected, rtol=1e-12, atol=1e-14
    )
    # Blocks are computed again in the backward pass.
    slopes = [
        jax.jit(jax.grad(lambda *x, f=f: jnp.sum(f(*x) ** 2), (1, 2)))(values, sender, receiver)
        for f in (correlation.spread, plain)
    ]
    assert_close(*slopes)


def test_with_the_identity_each_pixel_keeps_its_logits():
    values = vectors(pixels=5)[0]
    sender = jnp.broadcast_to(1e4 * jnp.eye(5), (2, 5, 5))
    np.testing.assert_allclose(correlation.spread(values, sender, sender), values, rtol=1e-12)


def test_the_head_leaves_the_logits_without_a_gradient_and_takes_the_network_as_it_is():
    network = SmallNetwork(jnp.float64, False, nnx.Rngs(0))
    made = nnx.eval_shape(lambda: correlation.WithCorrelation(network, nnx.Rngs(1)))
    assert made.head.project.kernel.shape == (3, 3, 12, 256)
    assert made.head.sender.kernel.shape == (1, 1, 256, 5)
    head = correlation.CorrelationHead(3, 5, dtype=jnp.float64, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    x, logits = (jnp.asarray(rng.normal(size=shape)) for shape in ((2, 4, 3, 3), (2, 8, 9, 5)))

    def total(head, x, logits):
        return jnp.sum(head(x, logits, jax.random.key(0)).logits ** 2)

    of_features, of_logits = nnx.jit(nnx.grad(total, argnums=(1, 2)))(head, x, logits)
    assert np.any(of_features)
    assert not np.any(of_logits)
    found = nnx.jit(lambda head, *x: head(*x))(head, x, logits, jax.random.key(0))
    assert found.logits.shape == (2, 4, 3, 5)
    # All that is sent arrives: the sums over the pixels are those of the resized logits.
    rows, columns = (np.asarray(interpolation_matrix(*s, jnp.float64)) for s in ((8, 4), (9, 3)))
    small = np.einsum("ph,qw,bhwk->bpqk", rows, columns, logits)
    np.testing.assert_allclose(found.logits.sum((1, 2)), small.sum((1, 2)), rtol=1e-10)


def grown(labels, confident, region=None, threshold=0.85, maps=None):
    """`grow` on one image of a single row."""
    labels, confident = (jnp.asarray(x)[None, None] for x in (labels, np.asarray(confident, bool)))
    maps = jnp.asarray([region] if maps is None else maps, float)[:, None, None]
    found, kept = grow(
        labels.astype(jnp.int32), confident, jnp.ones(labels.shape, bool), maps, threshold,
        num_classes=5,
    )  # fmt: skip
    return found[0, 0].tolist(), kept[0, 0].astype(int).tolist()


def test_regions_by_hand():
    region, other = 10 * [1] + [0, 0], [0, 0]
    labels = 9 * [3] + [1] + other
    all_of_it = (10 * [3] + other, 10 * [1] + other)
    # Nine of ten are confident and agree.
    assert grown(labels, 9 * [1] + [0] + other, region) == all_of_it
    # Eight are too few.
    eight = 8 * [1] + 4 * [0]
    assert grown(labels, eight, region) == (labels, eight)
    # Nine that do not agree.
    mixed = 5 * [3] + 4 * [2] + [1] + other
    nine = 9 * [1] + 3 * [0]
    assert grown(mixed, nine, region) == (mixed, nine)
    # No confident pixel, even at a threshold of 0; and no region at all.
    assert grown(labels, 12 * [0], region, threshold=0.0) == (labels, 12 * [0])
    assert grown(labels, nine, maps=np.zeros((0, 12))) == (labels, nine)


def test_later_regions_see_what_earlier_ones_wrote():
    labels, confident = [3, 3, 3, 3, 1, 1], [1, 1, 1, 1, 1, 1]
    first, second = [1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1]
    # The fifth pixel becomes 3, and only then are three of the last four alike.
    assert grown(labels, confident, threshold=0.7, maps=[first, second])[0] == 6 * [3]
    assert grown(labels, confident, threshold=0.7, maps=[second, first])[0] == [3] * 5 + [1]


def test_a_region_is_above_the_middle_between_the_extremes():
    x = jnp.array([[[0.2, 0.6, 0.39, 0.41]], [[0.5, 0.5, 0.5, 0.5]]])
    assert above_the_middle(x).tolist() == [[[False, True, False, True]], [[False] * 4]]


def problem(regions=6):
    """Outputs and targets of one strong view; class 0 is likelier than the others."""
    rng = np.random.default_rng(3)
    logits, targets = random_problem()

    def more():
        return jnp.asarray(rng.normal(scale=3, size=logits.labeled.shape))

    maps = jnp.asarray(rng.random((regions, len(logits.weak), 4, 4)))
    outputs = corrmatch.Outputs(
        labeled=logits.labeled,
        correlated_labeled=more(),
        strong=logits.strong[0],
        correlated_strong=more(),
        weak=logits.weak.at[..., 0].add(3),
        partner=logits.partner,
        correlated_weak=more(),
        perturbed=logits.perturbed,
        maps=maps,
    )
    return outputs, dataclasses.replace(targets, pasted=targets.pasted[:1])


def plain_grow(label, confident, allowed, maps, threshold):
    """Pixel by pixel, image by image."""
    label, kept = label.copy(), confident.copy()
    to_rows = np.asarray(interpolation_matrix(maps.shape[2], label.shape[1], jnp.float64))
    to_columns = np.asarray(interpolation_matrix(maps.shape[3], label.shape[2], jnp.float64))
    changed = 0
    for image in range(len(label)):
        for region_map in maps[:, image]:
            large = to_rows @ region_map @ to_columns.T
            scaled = (large - large.min()) / (large.max() - large.min())
            region = (scaled > 0.5) & allowed[image]
            sure = region & confident[image]
            if not sure.any() or sure.sum() / region.sum() < threshold:
                continue
            votes = np.bincount(label[image][sure])
            if votes.max() / sure.sum() > threshold:
                label[image][region] = votes.argmax()
                kept[image] |= region
                changed += 1
    return label, kept, changed


def test_terms_equal_a_plain_computation():
    outputs, targets = problem()
    t = 0.6
    method = METHODS["corrmatch"]()
    loss, terms = jax.jit(method.sum_terms)(outputs, targets, count_pixels(targets), jnp.asarray(t))

    out = corrmatch.Outputs(*(np.asarray(x, np.float64) for x in outputs))
    labels, own_valid = np.asarray(targets.labels), np.asarray(targets.valid)
    pasted, valid = np.asarray(targets.pasted[0]), np.asarray(targets.strong_valid[0])
    teacher = np.where(pasted[..., None], out.partner, out.weak)
    p, q = softmax(teacher), softmax(out.strong)
    confident = (p.max(-1) >= t) & valid
    y, kept, changed = plain_grow(p.argmax(-1), confident, ~pasted & valid, out.maps, t)
    assert changed > 0
    assert (kept & ~confident).any()
    weak = softmax(out.weak)
    sure, y_weak = (weak.max(-1) >= t) & own_valid, weak.argmax(-1)

    def mean(logits, target, where, count):
        return plain_cross_entropy(logits, target)[where].sum() / count

    n, n_weak = valid.sum(), own_valid.sum()
    expected = {
        "loss_labeled": np.nanmean(plain_cross_entropy(out.labeled, labels)),
        "loss_correlated_labeled": np.nanmean(plain_cross_entropy(out.correlated_labeled, labels)),
        "loss_strong1": mean(out.strong, y, kept, n),
        "loss_divergence": (p * np.log(p / q)).sum(-1)[confident].sum() / n,
        "loss_perturbed": mean(out.perturbed, y_weak, sure, n_weak),
        "loss_correlated": (
            mean(out.correlated_strong, y, kept, n)
            + mean(out.correlated_weak, y_weak, sure, n_weak)
        )
        / 2,
        "kept_ratio": sure.sum() / n_weak,
        "grown_ratio": kept.sum() / n,
        "threshold": t,
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-6, err_msg=name)
    x, xc, s, kl, fp, c = (value for name, value in expected.items() if name.startswith("loss"))
    np.testing.assert_allclose(loss, (x / 2 + xc / 2 + (s + kl + fp + c) / 4) / 2, rtol=1e-6)


def test_without_regions_its_terms_are_those_of_unimatch():
    outputs, targets = problem(regions=0)
    counts = count_pixels(targets)
    _, terms = jax.jit(METHODS["corrmatch"]().sum_terms)(
        outputs, targets, counts, jnp.asarray(0.95)
    )
    logits = Logits(
        outputs.labeled, (outputs.strong,), outputs.weak, outputs.partner, outputs.perturbed
    )
    _, expected = jax.jit(METHODS["unimatch"]().sum_terms)(logits, targets, counts)
    for name in ("loss_labeled", "loss_strong1", "loss_perturbed", "kept_ratio"):
        np.testing.assert_allclose(terms[name], expected[name], rtol=1e-6, err_msg=name)


def test_no_region_is_drawn_if_labels_are_not_to_grow():
    method = METHODS["corrmatch"](regions=0)
    _, sender, receiver = vectors(rows=4)
    found = method.maps(
        correlation.Correlated(jnp.zeros((4, 1, 7, 5)), sender, receiver), jax.random.key(0)
    )
    assert found.shape == (0, 2, 1, 7)


def test_a_consensus_term_is_inside_the_outer_factor():
    outputs, targets = problem(regions=0)
    counts = count_pixels(targets)
    plain, _ = jax.jit(METHODS["corrmatch"]().sum_terms)(outputs, targets, counts, jnp.asarray(0.9))
    method = METHODS["corrmatch"](consensus="l2", top_n=3, consensus_weight=0.5)
    loss, terms = jax.jit(method.sum_terms)(outputs, targets, counts, jnp.asarray(0.9))
    np.testing.assert_allclose(loss, plain + 0.5 * terms["loss_consensus"] / 2, rtol=1e-6)


def test_the_threshold_after_a_step_by_hand():
    method = METHODS["corrmatch"]()
    memory = {"threshold": jnp.asarray(0.85)}
    # Class 0 at most 0.7, class 2 at most 0.9; a surer pixel of class 1 is padding.
    p = np.array([[[[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.05, 0.05, 0.9], [0.01, 0.98, 0.01]]]])
    valid = jnp.array([[[True, True, True, False]]])

    @jax.jit
    def after(valid):
        observed = corrmatch.observe(jnp.log(p), valid)
        return method.update(memory, observed, None, None)["threshold"]

    np.testing.assert_allclose(after(valid), 0.85 * 0.999 + 0.001 * 0.8, rtol=1e-12)
    assert float(after(jnp.zeros_like(valid))) == 0.85


def setup(devices=1, **more):
    return Setup(make_method("corrmatch", regions=8), devices, jnp.float64, **more)


@pytest.mark.slow
def test_a_step_trains_the_head_and_moves_the_threshold():
    made = setup(max_skipped=1)
    start = made.state()
    first = jax.device_get(start.weights.params["head"])
    state, scalars = made.step(start, make_batch(made.method))
    moved = float(state.memory["threshold"])
    assert moved == float(scalars["threshold"])
    assert 0.3 < moved < 0.301
    changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), first, state.weights.params["head"])
    assert all(jax.tree.leaves(changed))
    broken = jax.tree.map(lambda x: x * jnp.nan, state.weights.params)
    state = state.replace(weights=state.weights.replace(params=broken))
    skipped, scalars = made.step(state, make_batch(made.method))
    assert int(scalars["skipped_steps"]) == 1
    assert float(skipped.memory["threshold"]) == moved


@pytest.mark.slow
def test_eight_devices_train_as_one_and_a_resumed_run_as_an_uninterrupted_one(tmp_path):
    (one, one_log), (eight, eight_log) = setup().run(4), setup(8).run(4)
    resumed, _ = setup().run(4, tmp_path, 2)
    for part in ("weights", "memory"):
        jax.tree.map(np.testing.assert_array_equal, getattr(one, part), getattr(resumed, part))
        assert_close(getattr(one, part), getattr(eight, part))
    assert_close(one_log, eight_log)
