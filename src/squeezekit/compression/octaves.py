"""Scales in few bits: sixteen steps an octave, exact in float32 and the same on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from squeezekit.compression.arithmetic import Integers

STEPS = 16
SMALLEST, LARGEST = 0, 127 * STEPS  # From 2**-64 to below 2**63.
LOWEST_OCTAVE = -64


def _mantissas() -> Integers:
    """2**(i ÷ 16) · 2**23 to the nearest integer, by integers."""
    found = []
    for i in range(STEPS):
        power = 1 << (23 * STEPS + i)
        low = round(2 ** (i / STEPS + 23)) - 2
        # The two nearest integers enclose the root; (2m + 1)/2 to the sixteenth tells which is nearer.
        found.append(next(m for m in range(low, low + 5) if (2 * m + 1) ** STEPS > power << STEPS))
    return np.array(found, np.int64)


MANTISSAS = _mantissas()
_SCALES = np.ldexp(
    MANTISSAS[np.arange(LARGEST + 1) % STEPS].astype(np.float64), np.arange(LARGEST + 1) // STEPS + LOWEST_OCTAVE - 23
).astype(np.float32)


def from_octaves(exponents: Integers) -> NDArray[np.float32]:
    """The scales of exponents 0 to 2,032: 2**(exponent ÷ 16 − 64); others count as the nearest of these."""
    return _SCALES[np.clip(exponents, SMALLEST, LARGEST)]


def nearest_octave(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Positive numbers, each rounded to the nearest scale on a logarithmic axis."""
    exponents = np.rint(STEPS * (np.log2(np.maximum(scales, _SCALES[0]).astype(np.float64)) - LOWEST_OCTAVE))
    return from_octaves(exponents.astype(np.int64))


def to_octaves(scales: NDArray[np.float32]) -> Integers | None:
    """The exponents of scales that lie on the grid exactly; None if some do not."""
    exponents = np.searchsorted(_SCALES, scales)
    if (exponents > LARGEST).any() or (_SCALES[exponents] != scales).any():
        return None
    return exponents.astype(np.int64)
