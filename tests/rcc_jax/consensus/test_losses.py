"""The consensus against brute force over subsets, recorded numbers and its own properties."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax import consensus
from tests.support.commands import REPOSITORY

ORACLES = REPOSITORY / "tests" / "oracles"
PLAYERS = range(2, 9)


def brute_force_entropies(logits):
    """Entropy of the softmax over every subset, straight from eq. 6, in float64."""
    players = len(logits)
    result = np.zeros(2**players)
    for subset in range(1, 2**players):
        members = np.array([logits[i] for i in range(players) if subset >> i & 1], np.float64)
        weights = np.exp(members - members.max())
        p = weights / weights.sum()
        result[subset] = -np.sum(p * np.log(np.maximum(p, 1e-300)))
    return result


def brute_force_consensus(logits):
    """Eq. 7 as written: a sum over the coalitions of the other players."""
    phi, players = brute_force_entropies(logits), len(logits)
    values = []
    for u, v in itertools.combinations(range(players), 2):
        others = [i for i in range(players) if i not in (u, v)]
        total = 0.0
        for size in range(len(others) + 1):
            for members in itertools.combinations(others, size):
                t = sum(1 << i for i in members)
                total += phi[t | 1 << u | 1 << v] + phi[t] - phi[t | 1 << u] - phi[t | 1 << v]
        values.append(total / 2 ** (players - 2))
    return np.array(values)


@pytest.mark.parametrize("players", PLAYERS)
def test_entropies_and_consensus_equal_brute_force(players):
    logits = np.random.default_rng(players).normal(scale=3, size=(5, players)).astype(np.float32)
    entropies, values = consensus.subset_entropies(logits), consensus.class_consensus(logits)
    assert entropies.shape == (5, 2**players)
    assert values.shape == (5, players * (players - 1) // 2)
    np.testing.assert_allclose(entropies, [brute_force_entropies(x) for x in logits], atol=2e-6)
    np.testing.assert_allclose(values, [brute_force_consensus(x) for x in logits], atol=2e-6)


@functools.partial(jax.jit, static_argnums=3)
def golden_numbers(teacher, student, classes, players):
    """All that is recorded, by its name."""
    found = {"idx": jax.lax.top_k(teacher, players)[1]}
    for name, logits in (("w", teacher), ("s", student)):
        values = consensus.class_consensus(jnp.take_along_axis(logits, classes, axis=-1))
        found |= {f"J{name}": values, f"R{name}": consensus.soft_ranks(values)}
    found["loss"] = consensus.pixel_rcc_loss(teacher, student, top_n=players)
    loss, gradient = jax.value_and_grad(
        lambda s: consensus.rcc_loss(teacher, s, top_n=players) * len(teacher)
    )(student)
    found |= {"loss_mean": loss / len(teacher), "grad_student": gradient}
    mapped = jax.vmap(lambda t, s: consensus.rcc_loss(t, s, top_n=players))(teacher, student)
    return found, mapped


@pytest.mark.parametrize("players", [3, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_golden_numbers(players, dtype):
    golden = np.load(ORACLES / "rcc_golden.npz")
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"atol": 1e-12}
    with jax.enable_x64(dtype == np.float64):
        teacher, student = (jnp.asarray(golden[f"base/{x}"], dtype) for x in ("teacher", "student"))
        classes = golden[f"base/N{players}/idx"]
        found, mapped = golden_numbers(teacher, student, classes, players)
        assert found["Jw"].dtype == found["loss"].dtype == dtype
        for name, actual in found.items():
            np.testing.assert_allclose(actual, golden[f"base/N{players}/{name}"], **tolerance)
        np.testing.assert_allclose(mapped.mean(), found["loss_mean"], rtol=1e-5)


def test_known_values():
    np.testing.assert_allclose(consensus.class_consensus(jnp.zeros(3)), 0.202732554054082, 1e-6)
    np.testing.assert_allclose(consensus.subset_entropies(jnp.zeros(4))[-1], math.log(4), 1e-6)


@pytest.mark.parametrize("players", [3, 4, 6])
def test_permuting_the_players_permutes_the_pairs(players):
    rng = np.random.default_rng(0)
    logits, order = rng.normal(size=players).astype(np.float32), rng.permutation(players)
    pairs = list(itertools.combinations(range(players), 2))
    moved = [pairs.index(tuple(sorted((order[u], order[v])))) for u, v in pairs]
    np.testing.assert_allclose(
        consensus.class_consensus(logits[order]),
        consensus.class_consensus(logits)[np.array(moved)],
        atol=1e-6,
    )


def test_a_constant_on_the_logits_changes_nothing():
    rng = np.random.default_rng(1)
    teacher, student = rng.normal(size=(2, 40, 9)).astype(np.float32)
    plain = consensus.pixel_rcc_loss(teacher, student)
    shifted = consensus.pixel_rcc_loss(teacher + 7, jax.nn.log_softmax(student))
    np.testing.assert_allclose(shifted, plain, atol=2e-6)


@pytest.mark.parametrize("temperature", [0.01, 0.3, 1.0, 10.0])
def test_ranks_sum_to_those_of_an_order_and_harden(temperature):
    values = jnp.asarray(np.random.default_rng(2).normal(size=(30, 6)), jnp.float32)
    ranks = consensus.soft_ranks(values, temperature)
    np.testing.assert_allclose(ranks.sum(-1), 6 * 7 / 2, rtol=1e-5)
    assert (ranks >= 1).all()
    assert (ranks <= 6).all()
    np.testing.assert_array_equal(jnp.argsort(ranks), jnp.argsort(-values))
    hard = 1 + jnp.argsort(jnp.argsort(-values))
    np.testing.assert_allclose(consensus.soft_ranks(values, 1e-6), hard, atol=1e-3)


def test_equal_logits_lose_nothing_and_pull_nowhere():
    logits = jnp.asarray(np.random.default_rng(3).normal(size=(20, 8)), jnp.float32)
    for loss in (consensus.cc_loss, functools.partial(consensus.cc_loss, kind="kl")):
        value, gradient = jax.jit(jax.value_and_grad(loss, argnums=1))(logits, logits)
        np.testing.assert_allclose(value, 0, atol=1e-6)
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.slow
def test_equal_ranks_lose_nothing_and_pull_nowhere():
    logits = jnp.asarray(np.random.default_rng(3).normal(size=(20, 8)), jnp.float32)
    # Operation by operation: the loss has a kink at equality, and a compiler may round the two
    # sides differently.
    with jax.disable_jit():
        value, gradient = jax.value_and_grad(consensus.rcc_loss, argnums=1)(logits, logits)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


@functools.partial(jax.jit, static_argnums=2)
def all_losses_with_gradients(teacher, student, top_n):
    losses = [lambda s: consensus.rcc_loss(teacher, s, top_n=top_n, temperature=0.1)]
    losses += [
        lambda s, k=kind: consensus.cc_loss(teacher, s, top_n=top_n, kind=k)
        for kind in consensus.CC_KINDS
    ]
    return [jax.value_and_grad(loss)(student) for loss in losses]


@pytest.mark.parametrize("top_n", [2, 4, 8])
@pytest.mark.parametrize(
    "logits",
    [
        np.zeros(9),
        np.full(9, 1e4),
        np.array([1e4, -1e4, 1e4, -1e4, 0, 0, 1e4, 3, -1e4]),
        np.linspace(-1e4, 1e4, 9),
        np.array([2.0, 2.0, 2.0, -1.0, -1.0, 5.0, 5.0, 5.0, 5.0]),
    ],
    ids=["equal", "equal_large", "extreme_ties", "spread", "ties"],
)
def test_values_and_gradients_are_finite_at_extremes(logits, top_n):
    other = np.random.default_rng(4).normal(size=9)
    for teacher, student in ((logits, other), (other, logits), (logits, logits[::-1].copy())):
        teacher, student = jnp.asarray(teacher, jnp.float32), jnp.asarray(student, jnp.float32)
        for value, gradient in all_losses_with_gradients(teacher, student, top_n):
            assert jnp.isfinite(value)
            assert jnp.isfinite(gradient).all()


def test_two_players_have_one_rank_and_no_loss():
    teacher, student = np.random.default_rng(5).normal(size=(2, 6, 5)).astype(np.float32)
    np.testing.assert_allclose(consensus.rcc_loss(teacher, student, top_n=2), 0, atol=1e-7)


def test_cross_entropy_and_divergence_have_one_gradient_but_squares_another():
    teacher, student = np.random.default_rng(6).normal(size=(2, 50, 7)).astype(np.float32)
    gradients = {
        kind: jax.jit(jax.grad(lambda s, k=kind: consensus.cc_loss(teacher, s, kind=k)))(student)
        for kind in consensus.CC_KINDS
    }
    np.testing.assert_allclose(gradients["ce"], gradients["kl"], atol=1e-7)
    assert np.abs(gradients["l2"] - gradients["ce"]).max() > 1e-4


def test_cc_is_the_squared_distance_of_the_consensus():
    teacher, student = np.random.default_rng(7).normal(size=(2, 11, 4)).astype(np.float32)
    order = np.argsort(-teacher, axis=-1)
    both = [[brute_force_consensus(x[o]) for x, o in zip(y, order, strict=True)]
            for y in (teacher, student)]  # fmt: skip
    expected = np.square(np.subtract(*both)).sum(-1).mean()
    np.testing.assert_allclose(consensus.cc_loss(teacher, student), expected, rtol=1e-5)


def test_only_the_student_and_only_kept_pixels_get_a_gradient():
    teacher, student = np.random.default_rng(8).normal(size=(2, 2, 3, 3, 6)).astype(np.float32)
    where = np.zeros((2, 3, 3), bool)
    where[0, 1] = True
    for loss in map(jax.jit, (consensus.rcc_loss, consensus.cc_loss)):
        to_teacher, to_student = jax.grad(lambda t, s, f=loss: f(t, s, where=where), (0, 1))(
            teacher, student
        )
        assert not np.any(to_teacher)
        np.testing.assert_array_equal(np.any(to_student, axis=-1), where)
        masked = loss(teacher, student, where=where)
        np.testing.assert_allclose(masked, loss(teacher[0, 1], student[0, 1]), rtol=1e-5)
        assert loss(teacher, student, where=np.zeros_like(where)) == 0


def test_rank_loss_leaves_the_teacher_its_gradient():
    values = jnp.array([[0.1, 0.5, -0.2], [0.3, 0.1, 0.2]])
    assert np.any(jax.grad(lambda t: consensus.rank_loss(t, values[1]))(values[0]))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_promoted(dtype):
    logits = jnp.asarray(np.random.default_rng(9).normal(size=(4, 5)), dtype)
    assert consensus.subset_entropies(logits).dtype == jnp.float32
    assert consensus.rcc_loss(logits, logits).dtype == jnp.float32
    exact = consensus.class_consensus(logits.astype(jnp.float32))
    np.testing.assert_array_equal(consensus.class_consensus(logits), exact)


FLOATS = np.zeros((2, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: consensus.rcc_loss(FLOATS, FLOATS, top_n=6), "top_n = 6 needs at least"),
        (lambda: consensus.rcc_loss(FLOATS, FLOATS, top_n=1), "top_n must be from 2 to 8, got 1"),
        (lambda: consensus.cc_loss(FLOATS, FLOATS, top_n=9), "top_n must be from 2 to 8, got 9"),
        (lambda: consensus.rcc_loss(FLOATS, FLOATS[:, :4]), r"\(2, 5\) and \(2, 4\)"),
        (lambda: consensus.rank_loss(FLOATS, FLOATS[:1]), r"\(2, 5\) and \(1, 5\)"),
        (lambda: consensus.rcc_loss(FLOATS.astype(int), FLOATS), "teacher_logits must be floating"),
        (lambda: consensus.class_consensus(np.arange(4)), "logits must be floating-point"),
        (lambda: consensus.subset_entropies(FLOATS[:, :1]), "from 2 to 8, got 1"),
        (lambda: consensus.subset_entropies(np.zeros((3, 9), np.float32)), "from 2 to 8, got 9"),
        (lambda: consensus.subset_entropies(np.float32(1)), "last axis of players"),
        (lambda: consensus.cc_loss(FLOATS, FLOATS, kind="l1"), "kind must be one of l2, ce, kl"),
        (lambda: consensus.soft_ranks(FLOATS, 0.0), "temperature must be above 0"),
        (lambda: consensus.rcc_loss(FLOATS, FLOATS, where=np.ones(3, bool)), "where must have"),
    ],
)
def test_bad_input_is_a_value_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
