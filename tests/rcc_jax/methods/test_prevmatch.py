"""PrevMatch: checks by hand, its terms against plain float64 numpy, and its memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rcc_jax.methods import METHODS, passes, prevmatch
from rcc_jax.methods.base import Clock
from rcc_jax.methods.passes import count_pixels
from tests.support.plain import (
    assert_close,
    plain_cross_entropy,
    plain_pseudo,
    random_problem,
    softmax,
)
from tests.support.steps import Setup, make_batch, make_method

pytestmark = pytest.mark.usefixtures("in_float64")


def clock(step, epoch=5, run=20):
    return Clock(jnp.asarray(step), epoch, run)


def test_the_ramp_is_zero_at_both_ends():
    found = [float(prevmatch.ramp(clock(step))) for step in (0, 5, 10, 15, 20)]
    assert found == [0, 0.5, 1, 0.5, 0]


def test_snapshots_are_drawn_among_those_taken():
    drawing = jax.jit(lambda key, kept: prevmatch.draw(key, kept, 8, 3))
    for kept in (0, 1, 2, 8):
        draws = [drawing(jax.random.key(seed), kept) for seed in range(60)]
        numbers = {int(each.number) for each in draws}
        assert numbers == (set(range(1, min(kept, 3) + 1)) or {0})
        for number, slots, weights in draws:
            chosen = slots[: int(number)]
            assert len(set(chosen.tolist())) == number
            assert all(slot < kept for slot in chosen)
            assert not weights[int(number) :].any()
            if kept:
                assert float(weights.sum()) == pytest.approx(1)
        if kept == 8:
            assert {slot for each in draws for slot in each.slots.tolist()} == set(range(8))


def test_weights_are_uniform_on_the_simplex():
    keys = jax.random.split(jax.random.key(0), 6000)
    found = jax.jit(jax.vmap(lambda key: prevmatch.draw(key, jnp.asarray(8), 8, 3)))(keys)
    weights = np.asarray(found.weights)[np.asarray(found.number) == 3]
    # Each of the three has the distribution Beta(1, 2).
    np.testing.assert_allclose(weights.mean(0), 1 / 3, atol=0.02)
    np.testing.assert_allclose(weights.var(0), 1 / 18, atol=0.005)


def plain_previous(logits, snapshots, targets, *, threshold, by_image, kind):
    """L_prev, view by view and image by image."""
    own, partner = (np.asarray(x, np.float64) for x in snapshots)
    views = [
        (student, np.where(np.asarray(mask)[..., None], partner, own), valid)
        for student, mask, valid in zip(
            logits.strong, targets.pasted, targets.strong_valid, strict=True
        )
    ]
    views.append((logits.perturbed, own, targets.valid))
    found = []
    for student, teacher, valid in views:
        student, valid = np.asarray(student, np.float64), np.asarray(valid)
        confidence = softmax(teacher).max(-1)
        target, counting = plain_pseudo(teacher, kind, threshold)
        pixel = plain_cross_entropy(student, target)
        total = 0
        for row in range(len(pixel)):
            weight = confidence[row][valid[row]].mean() if by_image else 1
            total += weight * pixel[row][valid[row] & counting[row]].sum()
        found.append(total / valid.sum())
    return found[0] / 4 + found[1] / 4 + found[2] / 2


@pytest.mark.parametrize(
    ("weighting", "threshold", "kind"),
    [("none", 0.9, "hard"), ("confidence", 0.0, "hard"), ("none", 0.9, "soft")],
)
def test_the_term_equals_a_plain_computation(weighting, threshold, kind):
    logits, targets = random_problem()
    snapshots = random_problem(seed=1)[0].strong
    method = METHODS["prevmatch"](
        snapshot_threshold=threshold, snapshot_weighting=weighting, pseudo_labels=kind
    )
    found = method.previous_term(logits, snapshots, targets, count_pixels(targets))
    by_image = weighting == "confidence"
    expected = plain_previous(
        logits, snapshots, targets, threshold=threshold, by_image=by_image, kind=kind
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_with_the_labels_and_threshold_of_the_student_it_is_the_loss_of_unimatch():
    logits, targets = random_problem()
    counts = count_pixels(targets)
    method = METHODS["prevmatch"](snapshot_threshold=0.95)
    found = method.previous_term(logits, (logits.weak, logits.partner), targets, counts)
    own, terms = method.sum_terms(logits, targets, counts)
    np.testing.assert_allclose(found, 2 * own - terms["loss_labeled"], rtol=1e-6)


class Remembered:
    """Networks of which a snapshot's logits are its only weight times the colours."""

    def probe(self, source, images):
        return source["w"] * images.astype(float)


def test_logits_are_mixed_by_weight():
    images = jnp.arange(24, dtype=jnp.uint8).reshape(1, 2, 4, 3)
    places = {"w": jnp.array([1.0, 10.0, 100.0, 1000.0])}
    like = jnp.zeros((1, 2, 4, 3))

    def mixed(number):
        drawn = prevmatch.Draw(number, jnp.array([2, 0, 3]), jnp.array([0.25, 0.75, 0.0]))
        return jax.jit(
            lambda n: prevmatch.mixed_logits(
                Remembered(), places, drawn._replace(number=n), images, like=like
            )
        )(number)

    np.testing.assert_allclose(mixed(2), (0.25 * 100 + 0.75 * 1) * np.asarray(images, float))
    np.testing.assert_array_equal(mixed(0), 0)


class Given(METHODS["prevmatch"]):
    """PrevMatch with the logits of a problem."""

    def passes(self, nets, batch, key):
        return random_problem(seed=1)[0]


class Colours:
    """Networks of which a snapshot's logits are a linear function of the colours."""

    def probe(self, source, images):
        return images.astype(jnp.float32) @ source["w"].astype(jnp.float32)


def test_the_loss_of_a_step_weighs_the_term_by_the_ramp():
    method = Given(snapshot_threshold=0.4)
    batch, key = make_batch(method, rows=4, size=9), jax.random.key(3)
    places = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3, 5)) / 40)
    memory = {"snapshots": {"w": places}, "taken": jnp.asarray(3)}

    def step(at):
        counts = method.counts(batch)
        return method.loss(
            Colours(), batch, memory, counts=counts, parts=1, clock=clock(at), key=key
        )

    targets = passes.targets(batch, 2)
    own, _ = method.sum_terms(random_problem(seed=1)[0], targets, method.counts(batch))
    for at, share in ((4, 0.4), (10, 1.0)):
        found = step(at)
        previous = float(found.terms["loss_previous"])
        assert previous > 0
        expected = (2 * float(own) + share * previous) / (2 + share)
        np.testing.assert_allclose(found.loss, expected, rtol=1e-9)
    np.testing.assert_allclose(step(0).loss, own, rtol=1e-9)
    # The term is that of the drawn mixture of the three snapshots.
    drawn = prevmatch.draw(jax.random.fold_in(key, prevmatch._DRAW), 3, 8, 3)
    mixture = sum(
        float(drawn.weights[i]) * np.asarray(places[drawn.slots[i]])
        for i in range(int(drawn.number))
    )
    views = [batch[name]["weak"].astype(float) @ mixture for name in ("unlabeled", "partner")]
    logits = random_problem(seed=1)[0]
    plain = plain_previous(logits, views, targets, threshold=0.4, by_image=False, kind="hard")
    np.testing.assert_allclose(previous, plain, rtol=1e-6)


def test_a_snapshot_is_taken_after_every_epoch_and_the_oldest_gives_way():
    method = METHODS["prevmatch"](snapshots=2)
    memory = method.memory({"w": jnp.zeros(3)}, 5, None)
    taken = []
    for step in range(20):
        weights = {"w": jnp.full(3, step + 1.0)}
        memory = method.update(memory, (), weights, clock(step))
        taken.append((int(memory["taken"]), memory["snapshots"]["w"][:, 0].tolist()))
    assert taken[3] == (0, [0, 0])
    assert taken[4] == taken[8] == (1, [5, 0])
    assert taken[9] == (2, [5, 10])
    assert taken[14] == (3, [15, 10])
    assert taken[19] == (4, [15, 20])
    every_second = METHODS["prevmatch"](snapshot_every=2)
    assert int(every_second.update(every_second.memory(weights, 5, None), (), weights, clock(8))[
        "taken"
    ]) == 0  # fmt: skip


def test_a_skipped_end_of_an_epoch_delays_the_snapshot_by_a_step():
    method = METHODS["prevmatch"](snapshots=2)
    memory = method.memory({"w": jnp.zeros(3)}, 5, None)
    memory = method.update(memory, (), {"w": jnp.full(3, 4.0)}, clock(3))
    memory = method.update(memory, (), {"w": jnp.full(3, 6.0)}, clock(5))
    assert memory["snapshots"]["w"][:, 0].tolist() == [6, 0]
    memory = method.update(memory, (), {"w": jnp.full(3, 7.0)}, clock(6))
    assert memory["snapshots"]["w"][:, 0].tolist() == [6, 0]


SHORT = {"steps_per_epoch": 2, "num_steps": 6}
FEW = {"snapshots": 2, "snapshot_threshold": 0.2}


@pytest.mark.slow
def test_a_run_starts_as_unimatch_remembers_what_is_trained_and_skips_without_a_trace():
    more = {"freeze_encoder": True, "max_skipped": 2, **SHORT}
    made = Setup(make_method("prevmatch", **FEW), 1, jnp.float64, **more)
    _, unimatch = Setup(make_method("unimatch"), 1, jnp.float64, **more).run(2)
    state, log = made.run(3)
    for step in range(2):
        for name, value in unimatch[step].items():
            np.testing.assert_allclose(log[step][name], value, rtol=1e-12, err_msg=name)
    assert [float(entry["snapshots"]) for entry in log] == [0, 0, 1]
    assert [float(entry["loss_previous"]) > 0 for entry in log] == [False, False, True]
    # The snapshot is the student after the second step, without the frozen encoder; the compiler
    # may compute the two in two ways.
    two, _ = made.run(2)
    first = jax.tree.map(lambda x: x[0], state.memory["snapshots"])
    assert_close(first, made.network.trained(two.weights))
    assert "backbone" not in first.params

    start = made.state()
    broken = jax.tree.map(lambda x: x * jnp.nan, start.weights.params)
    start = start.replace(weights=start.weights.replace(params=broken), step=start.step + 1)
    skipped, scalars = made.step(start, make_batch(made.method))
    assert int(scalars["skipped_steps"]) == 1
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(skipped.memory))


@pytest.mark.slow
def test_eight_devices_train_as_one_and_a_resumed_run_as_an_uninterrupted_one(tmp_path):
    def run(devices, *stop):
        return Setup(make_method("prevmatch", **FEW), devices, jnp.float64, **SHORT).run(6, *stop)

    (one, one_log), (eight, eight_log), (resumed, _) = run(1), run(8), run(1, tmp_path, 3)
    assert float(one_log[-1]["snapshots"]) == 2
    for part in ("weights", "memory"):
        jax.tree.map(np.testing.assert_array_equal, getattr(one, part), getattr(resumed, part))
        assert_close(getattr(one, part), getattr(eight, part))
    assert_close(one_log, eight_log)
