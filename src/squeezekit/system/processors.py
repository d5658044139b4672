"""How many processors there are to compute with."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# The share of a container's processor time, in Linux.
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_processors() -> int:
    """Those that this process may use: fewer than the machine has where somebody has given it fewer.

    That is by affinity (`taskset`) or a container's quota. What OMP_NUM_THREADS says is for libraries that heed it.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = QUOTA.read_text(encoding="ascii").split()
        found = min(found, -(-int(quota) // int(period)))
    return max(found, 1)
