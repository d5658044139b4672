"""Weights that are not zero, as runs that the C runtime multiplies straight from flash.

A filter is a sequence of bytes: in the upper four bits how many zeros come before a weight, in the lower four the weight plus
eight, -7 to 7. A lower half of 8 says that only zeros come, one of 0 that the weight is the next byte. A filter ends where all
its weights are told.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_ZEROS, ONLY_ZEROS, NEXT_BYTE, MIDDLE = 15, 8, 0, 8


def runs_of(filters: NDArray[np.int8]) -> bytes:
    """The runs of filters [n, weights], one after the other."""
    return b"".join(_run(row) for row in filters)


def _run(row: NDArray[np.int8]) -> bytes:
    told, position = bytearray(), 0
    for place in np.flatnonzero(row):
        weight, zeros = int(row[place]), int(place) - position
        told += _zeros(max(zeros - MOST_ZEROS, 0))
        before = min(zeros, MOST_ZEROS) << 4
        if abs(weight) < MIDDLE:
            told.append(before | (weight + MIDDLE))
        else:
            told += bytes((before | NEXT_BYTE, weight & 255))
        position = int(place) + 1
    return bytes(told + _zeros(len(row) - position))


def _zeros(count: int) -> bytes:
    whole, rest = divmod(count, MOST_ZEROS)
    return bytes([MOST_ZEROS << 4 | ONLY_ZEROS] * whole + ([rest << 4 | ONLY_ZEROS] if rest else []))
