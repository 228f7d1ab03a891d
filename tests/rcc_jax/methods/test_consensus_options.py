"""The options of the consensus term: soft targets, pairs of the top class, agreeing pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pascal_1_16
from rcc_jax import build
from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS
from rcc_jax.methods.passes import count_pixels
from rcc_jax.methods.with_consensus import StrongView
from rcc_jax.options import options
from tests.support.plain import random_problem
from tests.support.plain_game import plain_agreement, plain_gradient, plain_softmax, plain_term

KINDS = ("rank", "l2", "ce", "kl", "soft")
SHAPE = (2, 2, 3, 6)


def one_view(student=None, dtype=np.float64):
    """A view with two pixels of padding, and pixels that are not confident."""
    rng = np.random.default_rng(1)
    teacher, drawn = rng.normal(scale=2, size=(2, *SHAPE))
    valid, kept = np.ones(SHAPE[:-1], bool), rng.random(SHAPE[:-1]) < 0.5
    valid[:, 1, 2] = False
    both = (jnp.asarray(x, dtype) for x in (teacher, drawn if student is None else student))
    return StrongView(*both, jnp.asarray(kept), jnp.asarray(valid), jnp.asarray(valid.sum()))


@pytest.mark.usefixtures("in_float64")
def test_agreeing_pixels_are_weighted_with_the_agreement():
    view = one_view()

    @jax.jit
    def run(student):
        methods = {
            kind: METHODS["unimatch"](consensus=kind, consensus_pixels="agreeing", top_n=3)
            for kind in KINDS
        }
        return {
            kind: jax.value_and_grad(lambda s, m=m: m.consensus_term([view._replace(student=s)]))(
                student
            )
            for kind, m in methods.items()
        }

    for kind, (found, gradient) in run(view.student).items():
        expected, unweighted, of_student = 0.0, 0.0, np.zeros(SHAPE)
        for at in zip(*np.nonzero(view.valid), strict=True):
            teacher, student = np.asarray(view.teacher[at]), np.asarray(view.student[at])

            def plain(logits, teacher=teacher, kind=kind):
                return plain_term(teacher, logits, kind, 3) / int(view.num_valid)

            weight = plain_agreement(teacher, student, 3)
            unweighted += plain(student)
            expected += weight * plain(student)
            of_student[at] = weight * plain_gradient(plain, student)  # The weight is a constant.
        # The weight is float32.
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_allclose(gradient, of_student, atol=1e-7)
        assert found < 0.9 * unweighted


@pytest.mark.usefixtures("in_float64")
def test_options_of_the_pairs_work_together():
    method = METHODS["unimatch"](
        consensus="kl", top_n=3, consensus_pairs="top", consensus_pixels="confident",
        consensus_input="probabilities",
    )  # fmt: skip
    view = one_view()
    losses = [
        plain_term(*(plain_softmax(np.asarray(x[at])) for x in view[:2]), "kl", 3, "top")
        for at in zip(*np.nonzero(view.valid & view.kept), strict=True)
    ]
    found = jax.jit(method.consensus_term)([view])
    np.testing.assert_allclose(found, sum(losses) / view.num_valid, rtol=1e-10)


def test_a_student_like_its_teacher_agrees_everywhere():
    view = one_view(dtype=np.float32)
    view = view._replace(student=view.teacher)
    everywhere, agreeing = (
        jax.jit(METHODS["cc"](consensus="ce", consensus_pixels=pixels, top_n=3).consensus_term)(
            [view]
        )
        for pixels in ("valid", "agreeing")
    )
    np.testing.assert_allclose(agreeing, everywhere, rtol=1e-6)


@pytest.mark.parametrize("kind", ["l2", "soft"])
def test_terms_of_bfloat16_logits_are_float32(kind):
    method = METHODS["unimatch"](consensus=kind, consensus_pixels="agreeing")
    term = jax.eval_shape(method.consensus_term, [one_view(dtype=jnp.bfloat16)])
    assert term.dtype == jnp.float32


def test_the_term_is_added_to_the_loss_of_unimatch():
    logits, targets = random_problem()
    counts = count_pixels(targets)
    option = ({"consensus": "soft"}, {"consensus": "rank", "consensus_pairs": "top"},
              {"consensus": "rank", "consensus_pixels": "agreeing"})  # fmt: skip

    def total(logits, **fields):
        method = METHODS["unimatch"](**fields, consensus_weight=0.3, top_n=3)
        return method.sum_terms(logits, targets, counts)

    @jax.jit
    def run(logits):
        plain, usual = total(logits), total(logits, consensus="rank")
        with_option = jax.value_and_grad(total, has_aux=True)
        return plain[0], usual[1], [with_option(logits, **fields) for fields in option]

    plain, usual, found = run(logits)
    for (loss, terms), gradient in found:
        assert terms.keys() == usual.keys()
        np.testing.assert_allclose(loss, plain + 0.3 * terms["loss_consensus"] / 2, rtol=1e-5)
        assert not np.any(gradient.weak)
        assert not np.any(gradient.partner)
        for student, valid in zip(gradient.strong, targets.strong_valid, strict=True):
            assert np.any(student, axis=-1)[valid].mean() > 0.7
            assert not np.any(student[~valid])
    differ = [usual, *(terms for (_, terms), _ in found)]
    assert len({float(terms["loss_consensus"]) for terms in differ}) == len(differ)


def test_soft_targets_play_no_game():
    view = one_view(dtype=np.float32)
    fields = {"consensus_input": "probabilities", "consensus_pairs": "top", "temperature": 0.1}
    plain, idle = (
        jax.jit(METHODS["unimatch"](consensus="soft", **more).consensus_term)([view])
        for more in ({}, fields)
    )
    assert plain == idle


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("unimatch,consensus=soft,pairs=top", "consensus_pairs=top has no effect"),
        ("unimatch,pairs=top", "consensus_pairs=top has no effect"),
        ("unimatch,pixels=agreeing", "consensus_pixels=agreeing has no effect"),
        ("unimatch,consensus=soft,input=probabilities", "consensus_input=probabilities has no eff"),
        ("unimatch,consensus=soft,tau=0.1", "temperature=0.1 has no effect"),
        ("supervised,pairs=top", "consensus_pairs"),
    ],
)
def test_an_option_without_effect_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        pascal_1_16.get_config(f"method={arguments}")


@pytest.mark.parametrize("name", ["rcc", "cc"])
def test_rcc_and_cc_take_the_options_but_no_soft_targets(name):
    config = pascal_1_16.get_config(f"method={name},pairs=top,pixels=agreeing")
    method = build.build_method(config)
    assert (method.consensus_pairs, method.consensus_pixels) == ("top", "agreeing")
    config.method.consensus = "soft"
    with pytest.raises(ConfigError, match="consensus = 'soft' is not known"):
        build.check(config)


def test_two_classes_are_too_few_for_every_term():
    for kind in KINDS:
        (fault,) = METHODS["unimatch"](consensus=kind).faults(2)
        assert f"consensus = {kind!r} compares the likeliest classes" in fault
        assert "needs at least 3 classes" in fault


def test_older_runs_had_none_of_the_options():
    for name in ("unimatch", "rcc", "cc"):
        declared, method = options(METHODS[name]), METHODS[name]()
        before = {
            field: declared[field].before for field in ("consensus_pairs", "consensus_pixels")
        }
        assert before == {"consensus_pairs": "all", "consensus_pixels": "valid"}
        assert before == {field: getattr(method, field) for field in before}
