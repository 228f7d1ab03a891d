"""Signals are noticed, and the context restores all handlers."""

import signal
import subprocess
import sys
import time

import pytest

from rcc_jax.distributed.interruption import Interrupted, Interruption
from tests.support.commands import REPOSITORY


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
    with Interruption("noticed"):
        pass
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_one_line_tells_of_the_first_signal(capfd):
    with Interruption("noticed; ends soon") as interruption:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert interruption.signum == signal.SIGTERM
    assert capfd.readouterr().err == "SIGTERM: noticed; ends soon\n"
    with Interruption():
        signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == ""


def test_line_comes_while_the_main_thread_is_in_a_long_call():
    code = (
        "import hashlib, sys\n"
        "from rcc_jax.distributed.interruption import Interruption\n"
        "with Interruption('noticed'):\n"
        "    print('begin', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)  # Takes minutes, like a compilation.\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"begin\n"
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == b"SIGINT: noticed; once more: at once\n"
        assert time.monotonic() - sent < 30
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
