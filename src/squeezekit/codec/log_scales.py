"""Log-spaced scales of quantised weights: few bits each, exact in float32 and the same on every machine.

The scales are 2**(exponent ÷ resolution - 64). `resolution` is the number of scales between one power of two and the next:
`COARSE` or `FINE`; every fourth fine scale is a coarse one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from squeezekit.codec.coder_tables import COARSE, DOUBLINGS, FINE, LOWEST_POWER, log_scales
from squeezekit.codec.range_coder import Integers

_SCALES = {resolution: np.array(log_scales(resolution), np.float32) for resolution in (COARSE, FINE)}


def from_log_steps(exponents: Integers, resolution: int = COARSE) -> NDArray[np.float32]:
    """The scales [n] of integer exponents [n], which are clipped to 0 … 127 · resolution."""
    return _SCALES[resolution][np.clip(exponents, 0, DOUBLINGS * resolution)]


def nearest_log_scale(scales: NDArray[np.float32], resolution: int = COARSE) -> NDArray[np.float32]:
    """Positive numbers [n], each rounded to the nearest scale on a logarithmic axis."""
    exponents = np.rint(resolution * (np.log2(np.maximum(scales, _SCALES[resolution][0]).astype(np.float64)) - LOWEST_POWER))
    return from_log_steps(exponents.astype(np.int64), resolution)


def to_log_steps(scales: NDArray[np.float32], resolution: int = COARSE) -> Integers | None:
    """The exponents [n] of scales [n]; None if some number is not exactly one of the scales."""
    exponents = np.searchsorted(_SCALES[resolution], scales)
    if (exponents > DOUBLINGS * resolution).any() or (_SCALES[resolution][exponents] != scales).any():
        return None
    return exponents.astype(np.int64)


def resolution_of(scales: NDArray[np.float32]) -> int:
    """`COARSE` where all of these scales are coarse ones, `FINE` otherwise."""
    return FINE if to_log_steps(scales) is None else COARSE
