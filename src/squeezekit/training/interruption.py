"""What stands between a step and the next: Ctrl-C, and losses that say that something is wrong."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from squeezekit.system.errors import RunFailed


class Interrupted(RunFailed):
    """Training was stopped from outside and can be resumed (exit code 130, as the shell has it for Ctrl-C)."""

    exit_code = 130


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; a second Ctrl-C ends at once. Only the main thread can listen.

    torchrun sends SIGTERM to processes that the terminal has sent Ctrl-C: that one is no second wish.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_finite(loss: float, epoch: int, step: int, rate: float) -> None:
    """Raise RunFailed when the loss is not a number or infinite."""
    if not math.isfinite(loss):
        raise RunFailed(
            f"the training loss became {loss} at epoch {epoch}, step {step}, learning rate {rate:.3g}: "
            "the run diverged; lower --learning-rate, or train with --batch-norm if it is off"
        )


def not_learning(loss: float, classes: int) -> str | None:
    """Say so when a whole epoch's training loss lies within 1 % of ln(classes), that of a guess."""
    guess = math.log(classes)
    if abs(loss - guess) > 0.01 * guess:
        return None
    return (
        f"the training loss stayed at {loss:.4f}, within 1 % of ln({classes}) = {guess:.4f}: the network is not "
        "learning and guesses; try another --learning-rate, or --batch-norm if it is off"
    )
