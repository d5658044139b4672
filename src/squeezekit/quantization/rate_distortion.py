"""Rate–distortion rounding: of the ways to round a filter, the one whose loss and code length together cost least.

The loss is predicted from the Fisher information; the error of each rounded weight is compensated by the weights that are still
to be rounded (GPTQ: Frantar et al., 2023, arXiv 2210.17323, section 3.3, after Hassibi and Stork, 1993). The code length is that
of `code_length.py`. `nats_per_bit` is the price of a bit, in nats of an image's loss: the rate weight λ divided by the number of
weights of the network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from squeezekit.codec.log_scales import nearest_log_scale
from squeezekit.quantization.code_length import SIGN_BITS, bits_per_step, expected_magnitudes
from squeezekit.quantization.fisher import FisherInformation

# Loss of a squared step ÷ nats_per_bit where a step is best on fine grids: errors step² ÷ 12 fall fourfold for a bit more.
FINE_GRID = 12 / math.log(2)
# No channel counts less than this share of the mean.
MIN_IMPORTANCE = 1e-3
# The code length of a weight depends on how its neighbours are rounded.
PASSES = 2


def grid_steps(fisher: FisherInformation, nats_per_bit: float) -> Tensor:
    """The step of each output channel's grid [out]; a log-spaced scale, so that writing it to a file changes nothing."""
    variance = 1 / fisher.inverse_cholesky.diagonal().square()
    gradients = fisher.output_gradients.clamp(min=MIN_IMPORTANCE * float(fisher.output_gradients.mean()) + 1e-12)
    steps = (FINE_GRID * nats_per_bit / (gradients * variance.log().mean().exp())).sqrt()
    return torch.from_numpy(nearest_log_scale(steps.numpy()))


def rate_distortion_round(weight: Tensor, steps: Tensor, fisher: FisherInformation, nats_per_bit: float) -> tuple[Tensor, Tensor]:
    """Round a weight [out, …] to grids of `steps` [out].

    Returns the integers [out, …] and what was rounded to them, in steps [out, …]: the weight, plus its compensation for errors.
    """
    matrix = weight.detach().flatten(1) / steps[:, None]
    # What an error of one step costs, in bits: [out, fan].
    error_bits = error_costs(fisher, steps, nats_per_bit)
    integers = matrix.round()
    for _ in range(PASSES):
        step_bits = bits_per_step(expected_magnitudes(integers.view(weight.shape))).expand(weight.shape).flatten(1)
        integers, compensated = _round_columns(matrix.clone(), fisher.inverse_cholesky, error_bits, step_bits)
    return integers.view(weight.shape), compensated.view(weight.shape)


def error_costs(fisher: FisherInformation, steps: Tensor, nats_per_bit: float) -> Tensor:
    """What an error of one step costs each weight of a filter, in bits: [out, fan]."""
    gradients = (fisher.output_gradients * steps.square())[:, None]
    return gradients / fisher.inverse_cholesky.diagonal().square() / (2 * nats_per_bit)


def _round_columns(matrix: Tensor, inverse_cholesky: Tensor, error_bits: Tensor, step_bits: Tensor) -> tuple[Tensor, Tensor]:
    """Column by column; `matrix` [out, fan] is changed and returned."""
    integers = torch.zeros_like(matrix)
    for j in range(matrix.shape[1]):
        column = matrix[:, j]
        size = column.abs()
        low = size.floor()
        candidates = torch.stack([torch.zeros_like(low), low, low + 1])
        bits = candidates * step_bits[:, j] + SIGN_BITS * (candidates > 0)
        best = (error_bits[:, j] * (size - candidates).square() + bits).argmin(0)
        integers[:, j] = candidates.gather(0, best[None])[0] * column.sign()
        error = (column - integers[:, j]) / inverse_cholesky[j, j]
        matrix[:, j + 1 :] -= torch.outer(error, inverse_cholesky[j, j + 1 :])
    return integers, matrix
