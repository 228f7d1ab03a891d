"""Signals are noticed, and nothing of that outlives the context."""

import signal

import pytest

from rcc_jax.interruption import Interrupted, Interruption


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_is_remembered(signum):
    with Interruption() as interruption:
        assert not interruption.requested()
        signal.raise_signal(signum)
        assert interruption.requested()
    assert Interrupted(interruption.signum, "").exit_code == 128 + signum


def test_second_sigint_does_not_wait():
    with Interruption():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_sigterm_after_sigint_waits():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert interruption.signum == signal.SIGTERM


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interruption():
        pass
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
