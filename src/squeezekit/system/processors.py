"""How many processors there are to compute with."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# The share of a container's processor time, in Linux.
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_processors() -> int:
    """Those that this process may use: fewer than the machine has where somebody has given it fewer.

    That is by affinity (`taskset`), a container's quota, or OMP_NUM_THREADS.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = QUOTA.read_text().split()
        found = min(found, -(-int(quota) // int(period)))
    with suppress(ValueError):
        # A list, such as 4,2, says how many inner loops have.
        found = min(found, int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0]))
    return max(found, 1)
