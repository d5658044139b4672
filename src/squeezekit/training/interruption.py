"""What ends a training between two steps: Ctrl-C, and losses that are no numbers."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from squeezekit.system.errors import RunFailed


class Diverged(RunFailed):
    """The training loss is no number any more."""


class Interrupted(RunFailed):
    """Training was stopped from outside and can be resumed (exit code 130, as the shell has it for Ctrl-C)."""

    exit_code = 130


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM or SIGHUP sets; a second Ctrl-C ends at once. Only the main thread can listen.

    SIGHUP says that the terminal is gone; `nohup` has it ignored, and that stays so.
    torchrun sends SIGTERM to processes that the terminal has sent Ctrl-C: that one does not count as the second.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, request) for number in stop_signals()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_signals() -> list[signal.Signals]:
    """Those that ask this process to save and end."""
    hangup = getattr(signal, "SIGHUP", None)
    heard = hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([hangup] if heard and hangup else [])]


def check_finite(loss: float, epoch: int, step: int, rate: float) -> None:
    """Raise Diverged when the loss is not a number or infinite."""
    if not math.isfinite(loss):
        raise Diverged(
            f"the training loss became {loss} at epoch {epoch}, step {step}, learning rate {rate:.3g}: "
            "the run diverged; lower --learning-rate, or train with --batch-norm if it is off"
        )
