"""Rounding that knows what a bit is worth: of the ways to round a filter, the one whose loss and code length cost least together.

The loss is foretold from the curvature, and the error of each rounded weight is made up for by the weights that are still to be
rounded (Frantar et al., 2023, “GPTQ”, arXiv 2210.17323, section 3.3, which builds on Hassibi and Stork, 1993). The code length is
that of `code_length.py`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from squeezekit.codec.log_scales import nearest_log_scale
from squeezekit.quantization.code_length import SIGN, bits_a_step, mean_sizes
from squeezekit.quantization.fisher import FisherInformation

# The square of a step in units of what a bit is worth, where errors step² ÷ 12 fall fourfold for a bit more (fine grids).
FINE_GRID = 12 / math.log(2)
# No channel counts less than this share of the mean.
LEAST_IMPORTANCE = 1e-3
# The code length of a weight depends on how its neighbours are rounded.
PASSES = 2


def steps_for(curvature: FisherInformation, price: float) -> Tensor:
    """The step of each output channel's grid [out] when a bit is worth `price` nats of an image's loss.

    They are scales of `octaves.py`, so that nothing moves when they are written without batch normalization.
    """
    inputs = 1 / curvature.alone.diagonal().square()
    outputs = curvature.outputs.clamp(min=LEAST_IMPORTANCE * float(curvature.outputs.mean()) + 1e-12)
    steps = (FINE_GRID * price / (outputs * inputs.log().mean().exp())).sqrt()
    return torch.from_numpy(nearest_log_scale(steps.numpy()))


def round_by_rate(weight: Tensor, steps: Tensor, curvature: FisherInformation, price: float) -> tuple[Tensor, Tensor]:
    """Integers [out, …] for a weight [out, …] on grids of `steps` [out].

    Also what was rounded to them: the weight, with what makes up for the errors before it, in steps.
    """
    matrix = weight.detach().flatten(1) / steps[:, None]
    # What an error of one step costs, in bits: [out, fan].
    loss = (curvature.outputs * steps.square())[:, None] / curvature.alone.diagonal().square() / (2 * price)
    integers = matrix.round()
    for _ in range(PASSES):
        each = bits_a_step(mean_sizes(integers.view(weight.shape))).expand(weight.shape).flatten(1)
        integers, meant = _rounded(matrix.clone(), curvature.alone, loss, each)
    return integers.view(weight.shape), meant.view(weight.shape)


def _rounded(matrix: Tensor, alone: Tensor, loss: Tensor, each: Tensor) -> tuple[Tensor, Tensor]:
    """Column by column; `matrix` ends as what was rounded."""
    integers = torch.zeros_like(matrix)
    for j in range(matrix.shape[1]):
        column = matrix[:, j]
        size = column.abs()
        low = size.floor()
        candidates = torch.stack([torch.zeros_like(low), low, low + 1])
        bits = candidates * each[:, j] + SIGN * (candidates > 0)
        best = (loss[:, j] * (size - candidates).square() + bits).argmin(0)
        integers[:, j] = candidates.gather(0, best[None])[0] * column.sign()
        error = (column - integers[:, j]) / alone[j, j]
        matrix[:, j + 1 :] -= torch.outer(error, alone[j, j + 1 :])
    return integers, matrix
