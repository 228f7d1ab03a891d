"""The loop of a run: what a signal between two steps does."""

import signal

import pytest

from rcc_jax.distributed.interruption import Interrupted
from rcc_jax.distributed.stop_vote import StopVote
from rcc_jax.training import loop
from tests.support.runs import metrics, saved_steps
from tests.support.small_configs import tiny


def four_steps(**fields):
    """A run of the labels alone, with nothing that takes time."""
    return tiny(
        method__name="supervised",
        model__backbone="resnet10",
        train__num_steps=4,
        eval__pictures=0,
        **fields,
    )


@pytest.mark.slow
def test_a_signal_after_the_decision_to_save_stops_the_next_step(tmp_path, monkeypatch):
    passed, sent = StopVote.passed, []

    def interrupted(self):
        answer = passed(self)
        if not sent:
            sent.append(signal.raise_signal(signal.SIGTERM))
        return answer

    monkeypatch.setattr(StopVote, "passed", interrupted)
    config = four_steps()
    with pytest.raises(Interrupted, match="stopped and saved after step 2"):
        loop.train(config, str(tmp_path / "run"))
    assert saved_steps(tmp_path / "run") == [2]


@pytest.mark.slow
def test_an_evaluation_that_is_stopped_is_repeated(tmp_path, monkeypatch):
    evaluate, sent = loop.evaluate_confusion, []

    def interrupted(*arguments):
        if not sent:
            sent.append(signal.raise_signal(signal.SIGTERM))
        return evaluate(*arguments)

    monkeypatch.setattr(loop, "evaluate_confusion", interrupted)
    config = four_steps(eval__every_steps=2)
    with pytest.raises(Interrupted, match="stopped and saved after step 2"):
        loop.train(config, str(tmp_path / "run"))
    loop.train(config, str(tmp_path / "run"))
    assert [line["step"] for line in metrics(tmp_path / "run") if "miou" in line] == [2, 4]
