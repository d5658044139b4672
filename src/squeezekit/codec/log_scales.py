"""Scales in few bits: some steps an octave, exact in float32 and the same on every machine.

Of the `FINE` ones every fourth is one of the `COARSE`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from squeezekit.codec.range_coder import Integers

COARSE, FINE = 16, 64
OCTAVES, LOWEST_OCTAVE = 127, -64  # From 2**-64 to 2**63.


def _mantissas(steps: int) -> Integers:
    """2**(i ÷ steps) · 2**23 to the nearest integer, by integers."""
    found = []
    for i in range(steps):
        power = 1 << (23 * steps + i)
        low = round(2 ** (i / steps + 23)) - 2
        # The two nearest integers enclose the root; (2m + 1)/2 to that power tells which is nearer.
        found.append(next(m for m in range(low, low + 5) if (2 * m + 1) ** steps > power << steps))
    return np.array(found, np.int64)


def _all_scales(steps: int) -> NDArray[np.float32]:
    octaves, places = np.divmod(np.arange(OCTAVES * steps + 1), steps)
    scales: NDArray[np.float64] = np.ldexp(_mantissas(steps)[places].astype(np.float64), octaves + LOWEST_OCTAVE - 23)
    return scales.astype(np.float32)


_SCALES = {steps: _all_scales(steps) for steps in (COARSE, FINE)}


def from_log_steps(exponents: Integers, steps: int = COARSE) -> NDArray[np.float32]:
    """The scales of exponents 0 to 127 · steps: 2**(exponent ÷ steps − 64); others count as the nearest of these."""
    return _SCALES[steps][np.clip(exponents, 0, OCTAVES * steps)]


def nearest_log_scale(scales: NDArray[np.float32], steps: int = COARSE) -> NDArray[np.float32]:
    """Positive numbers, each rounded to the nearest scale on a logarithmic axis."""
    exponents = np.rint(steps * (np.log2(np.maximum(scales, _SCALES[steps][0]).astype(np.float64)) - LOWEST_OCTAVE))
    return from_log_steps(exponents.astype(np.int64), steps)


def to_log_steps(scales: NDArray[np.float32], steps: int = COARSE) -> Integers | None:
    """The exponents of scales that lie on the grid exactly; None if some do not."""
    exponents = np.searchsorted(_SCALES[steps], scales)
    if (exponents > OCTAVES * steps).any() or (_SCALES[steps][exponents] != scales).any():
        return None
    return exponents.astype(np.int64)


def steps_of(scales: NDArray[np.float32]) -> int:
    """`COARSE` where that is enough for all of these scales, `FINE` otherwise."""
    return FINE if to_log_steps(scales) is None else COARSE
