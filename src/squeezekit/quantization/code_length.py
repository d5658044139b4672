"""An estimate of the bits that quantised weights cost, fast enough for every step of training.

Magnitudes are taken as geometrically distributed; the mean follows from row and input channel, as in the context model of the
coder (`codec/integer_model.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

# Of a magnitude: below this mean a zero costs next to nothing.
MIN_MEAN = 0.02
SIGN_BITS = 1.0


def expected_magnitudes(integers: Tensor) -> Tensor:
    """The mean magnitude expected of each weight, from its row and its input channel: [out, in, …] -> [out, in, 1, …]."""
    sizes = integers.abs().reshape(*integers.shape[:2], -1)
    rows, columns = sizes.mean((1, 2), keepdim=True), sizes.mean((0, 2), keepdim=True)
    expected: Tensor = (rows * columns / sizes.mean().clamp(min=MIN_MEAN)).clamp(min=MIN_MEAN)
    return expected.view(*expected.shape[:2], *[1] * (integers.ndim - 2))


def bits_per_step(expected: Tensor) -> Tensor:
    """The bits of a magnitude larger by one, where `expected` is the mean; the first step from zero costs `SIGN_BITS` more."""
    return torch.log2(1 + 1 / expected)


def code_length(integers: Tensor) -> float:
    """About how many bits integers [out, in, …] cost together."""
    expected, sizes = expected_magnitudes(integers), integers.abs()
    return float((sizes * bits_per_step(expected) + SIGN_BITS * (sizes > 0) + torch.log2(1 + expected)).sum())
