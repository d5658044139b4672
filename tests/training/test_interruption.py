"""What asks a training to save and end."""

import os
import signal

import pytest

from squeezekit.training.interruption import stop_requests, stop_signals


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signal")
def test_a_terminal_that_is_closed_asks_as_sigterm_does():
    # These tests may themselves run under nohup.
    outside = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        for number in (signal.SIGHUP, signal.SIGTERM):
            with stop_requests() as stop:
                os.kill(os.getpid(), number)
                assert stop.wait(10)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, outside)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signal")
def test_nohup_stays_as_it_is():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.wait(0.05)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_system_without_that_signal(monkeypatch):
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    assert stop_signals() == [signal.SIGINT, signal.SIGTERM]
