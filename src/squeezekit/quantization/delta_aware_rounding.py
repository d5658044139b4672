"""Delta-aware rounding: on the grid of an earlier file, the reference.

A weight keeps the integer of the reference wherever another one is not worth its bits in the delta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezekit.codec.encodings import Array, GridEncoding, Quantized
from squeezekit.quantization.fisher import FisherInformation
from squeezekit.quantization.qat import QuantizedWeight
from squeezekit.quantization.quantized_arrays import round_to_grid
from squeezekit.quantization.rate_distortion import error_costs

# About the bits of a change, with its position among some fifty integers that stay; and of each step beyond the first.
CHANGE_BITS, STEP_BITS = 7.0, 2.0
# In training a weight changes when its latent weight is so many steps away from the reference.
TRAINING_DISTANCE = 1.0
# A bias changes when its new value is so many steps away.
BIAS_DISTANCE = 0.75


def delta_aware_round(weight: Tensor, reference: Quantized, fisher: FisherInformation, nats_per_bit: float) -> NDArray[np.int64]:
    """Integers [out, …] for a weight [out, …] on the grid of `reference`; `nats_per_bit` is what a bit of the delta is worth.

    Errors are compensated by the weights that are still to be rounded, as in `rate_distortion.py`.
    """
    steps = torch.from_numpy(reference.scales)
    matrix = weight.detach().flatten(1) / steps[:, None]
    old = torch.from_numpy(reference.integers).to(matrix.dtype).flatten(1)
    inverse_cholesky = fisher.inverse_cholesky
    error_bits = error_costs(fisher, steps, nats_per_bit)
    integers = torch.zeros_like(matrix)
    for j in range(matrix.shape[1]):
        column, unchanged = matrix[:, j], old[:, j]
        low = column.floor()
        candidates = torch.stack([unchanged, low, low + 1])
        distance = (candidates - unchanged).abs()
        bits = CHANGE_BITS * (distance > 0) + STEP_BITS * (distance - 1).clamp(min=0)
        best = (error_bits[:, j] * (column - candidates).square() + bits).argmin(0)
        integers[:, j] = candidates.gather(0, best[None])[0]
        error = (column - integers[:, j]) / inverse_cholesky[j, j]
        matrix[:, j + 1 :] -= torch.outer(error, inverse_cholesky[j, j + 1 :])
    return integers.view(weight.shape).numpy().astype(np.int64)


@dataclass
class DeltaAwareWeight(QuantizedWeight):
    """A weight on the grid of an earlier file, whose integers [out, in, …] are `reference`."""

    reference: Tensor

    @classmethod
    @torch.no_grad()
    def from_latent(cls, weight: Tensor, step: Tensor, reference: Tensor, latent: Tensor) -> DeltaAwareWeight:
        """For a `weight` that is quantised already, which replaces `latent` where that would be rounded to another integer."""
        quantized = weight.detach()
        same = _round_to_reference(latent / step, reference) == (quantized / step).round()
        return cls(weight, step, torch.where(same, latent, quantized), reference)

    def to(self, device: torch.device) -> DeltaAwareWeight:
        """The same object, moved to the device that the network is on or will be."""
        super().to(device)
        self.reference = self.reference.to(device)
        return self

    def step_bits(self) -> Tensor:
        """Not used: every change costs the same."""
        return self.step

    @torch.no_grad()
    def round(self, step_bits: Tensor) -> None:
        """Round the latent weight into the network."""
        self.weight.copy_(_round_to_reference(self.latent / self.step, self.reference) * self.step)

    def changed(self) -> int:
        """How many integers differ from the reference."""
        return int((self.integers() != self.reference).sum())


def _round_to_reference(latent: Tensor, reference: Tensor) -> Tensor:
    """To the reference, or, where it is TRAINING_DISTANCE away or further, to the nearest integer; all in steps."""
    return torch.where((latent - reference).abs() < TRAINING_DISTANCE, reference, latent.round())


def delta_aware_bias(numbers: NDArray[np.float32], reference: Array | Quantized, steps: int) -> Array:
    """Numbers on the grid of the reference, unchanged where they are near it; on a grid of their own (`steps`) if it has none."""
    grid = GridEncoding.of(np.asarray(reference))
    if grid is None:
        return round_to_grid(numbers, steps)
    ratios = numbers / grid.step
    integers = np.where(np.abs(ratios - grid.integers) < BIAS_DISTANCE, grid.integers, np.rint(ratios))
    found: Array = (integers + 0).astype(np.float32) * grid.step
    return found
