"""About how many bits a rounded weight costs, fast enough for every step of training.

Magnitudes are taken as geometrically distributed, their mean that of row and input channel, as the coder sees them
(`integers.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

# Below this mean magnitude a zero costs next to nothing.
LEAST_MEAN = 0.02
SIGN = 1.0


def mean_sizes(integers: Tensor) -> Tensor:
    """The mean magnitude expected of each weight, from its row and its input channel: [out, in, …] -> [out, in, 1, …]."""
    sizes = integers.abs().reshape(*integers.shape[:2], -1)
    rows, columns = sizes.mean((1, 2), keepdim=True), sizes.mean((0, 2), keepdim=True)
    expected: Tensor = (rows * columns / sizes.mean().clamp(min=LEAST_MEAN)).clamp(min=LEAST_MEAN)
    return expected.view(*expected.shape[:2], *[1] * (integers.ndim - 2))


def bits_a_step(expected: Tensor) -> Tensor:
    """What a magnitude larger by one costs, where `expected` is the mean; the first step away from zero costs `SIGN` more."""
    return torch.log2(1 + 1 / expected)


def code_length(integers: Tensor) -> float:
    """About how many bits all these integers [out, in, …] cost."""
    expected, sizes = mean_sizes(integers), integers.abs()
    return float((sizes * bits_a_step(expected) + SIGN * (sizes > 0) + torch.log2(1 + expected)).sum())
