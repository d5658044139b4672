"""One process at a time: a lock that the system lets go by itself when its holder is killed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process is inside this block with the same `path` (an empty file, which stays).

    Another user may have made it: that it can be read is enough. Raises OSError where it can be neither made nor read.
    """
    file: BinaryIO
    try:
        file = path.open("ab")
    except PermissionError:
        file = path.open("rb")
    with file:
        _lock(file.fileno())
        yield


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        while True:
            try:
                return msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            except OSError:
                time.sleep(0.2)

else:
    import fcntl
    from contextlib import suppress

    def _lock(descriptor: int) -> None:
        # Some network drives have no locks: work is then done twice at worst, since every result is renamed into place.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
