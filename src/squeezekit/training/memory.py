"""The allocator, told that a training step will need again what the last one gave back."""

from __future__ import annotations

import ctypes
import platform

# From malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors; only glibc is told, elsewhere nothing happens.

    Without it glibc hands the largest activations back to the system at every step and gets them as pages to be
    zeroed: 5 % of the time of a step of `report`.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for threshold in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            mallopt(threshold, 2**30)
