"""How many pixels may be decoded at the same time, whatever the number of threads: memory is bounded by their sum."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """`most` pixels that threads share; a picture of more than that is decoded when no other is."""

    def __init__(self, most: int) -> None:
        self._most, self._taken, self._changed = most, 0, threading.Condition()

    @contextmanager
    def taken(self, pixels: int, seconds: float | None = None) -> Iterator[None]:
        """Wait until so many are free, and hold them; raises TimeoutError after `seconds`."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._most, seconds):
                raise TimeoutError
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()
