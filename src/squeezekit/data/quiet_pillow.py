"""Pillow warns of what is odd in a picture without saying in which: such warnings are silent while pictures are read."""

from __future__ import annotations

import threading
import warnings


class _QuietPillow:
    """A context that threads may share and enter again: the filters are the process's, set by the first, restored by the last."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


quiet_pillow = _QuietPillow()
