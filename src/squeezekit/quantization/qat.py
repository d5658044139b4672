"""Training on a grid: weights are rounded in every step, towards what is cheap to write down.

The network always holds rounded weights; behind them stand unrounded ones, which get the gradient of the rounded ones
(straight-through estimator; Bengio et al., 2013, arXiv 1308.3432). A weight is rounded away from zero only where that is worth
the bits it costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from squeezekit.quantization.code_length import SIGN, bits_a_step, code_length, mean_sizes
from squeezekit.quantization.rate_distortion import FINE_GRID
from squeezekit.quantization.wrapped_optimizer import WrappedOptimizer


@dataclass
class GridWeight:
    """A weight [out, in, ...] of the network, the steps of its grid [out, 1, ...], and the unrounded weight behind it."""

    weight: Tensor
    step: Tensor
    hidden: Tensor

    @classmethod
    @torch.no_grad()
    def meaning(cls, weight: Tensor, steps: Tensor, integers: Tensor, meant: Tensor) -> GridWeight:
        """Put integers [out, in, ...] on the grid of `steps` [out] into the network; `meant`, in steps, is what stands behind.

        Where that would be rounded to something else, the rounded weight itself stands behind.
        """
        step = steps.view(-1, *[1] * (weight.ndim - 1))
        weight.copy_(integers * step)
        found = cls(weight, step, meant * step)
        found.round(found.price())
        kept = found.integers() == integers
        found.hidden = torch.where(kept, found.hidden, integers * step)
        weight.copy_(integers * step)
        return found

    def to(self, device: torch.device) -> GridWeight:
        """Itself, its grid moved to where the network is or will be."""
        self.step, self.hidden = self.step.to(device), self.hidden.to(device)
        return self

    def integers(self) -> Tensor:
        """The rounded weight in steps."""
        return (self.weight.detach() / self.step).round()

    def price(self) -> Tensor:
        """Bits of a further step away from zero for each weight, as the weights are rounded now: [out, in, 1, ...]."""
        return bits_a_step(mean_sizes(self.integers()))

    @torch.no_grad()
    def round(self, price: Tensor) -> None:
        """Round the unrounded weight to where error and code length cost least together, into the network.

        The step says what a bit is worth (`steps_for`).
        """
        size = self.hidden.abs() / self.step
        low = size.floor()
        up = size - low > 0.5 + (price + SIGN * (low == 0)) / FINE_GRID
        self.weight.copy_(torch.copysign(low + up, self.hidden) * self.step)


class GridOptimizer(WrappedOptimizer):
    """An optimiser of rounded weights around one of unrounded ones.

    `rate_multiplier` multiplies what a bit costs: 1 is what the steps of the grids were made for (`steps_for`). `bit_budget`, for
    all weights, belongs to what steers it (`rate_control.py`), and stands here to be saved with the rest.
    """

    def __init__(self, inner: torch.optim.Optimizer, weights: Sequence[GridWeight]) -> None:
        super().__init__(inner)
        self.weights = weights
        # Where a recorded step reads it.
        self.rate_multiplier = torch.ones((), device=weights[0].weight.device)
        self.bit_budget = math.inf

    @torch.no_grad()
    def step(self) -> None:
        """Move the unrounded weights by the gradients of the rounded ones; round again."""
        prices = [grid.price() for grid in self.weights]
        for grid in self.weights:
            grid.weight.copy_(grid.hidden)
        self.inner.step()
        for grid, price in zip(self.weights, prices, strict=True):
            grid.hidden.copy_(grid.weight)
            grid.round(price * self.rate_multiplier)

    @torch.no_grad()
    def round_again(self) -> None:
        """Round the unrounded weights at what bits cost now, and move nothing."""
        for grid in self.weights:
            grid.round(grid.price() * self.rate_multiplier.to(grid.weight.device))

    @torch.no_grad()
    def bits(self) -> float:
        """About how many bits all weights cost now."""
        return sum(code_length(grid.integers()) for grid in self.weights)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on, beside the network."""
        grids = [(grid.step, grid.hidden) for grid in self.weights]
        return {**super().state_dict(), "grids": grids, "rate_multiplier": self.rate_multiplier, "bit_budget": self.bit_budget}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` put away."""
        super().load_state_dict(state)
        # A round that was begun before there was rate control has neither.
        self.rate_multiplier.fill_(float(state.get("rate_multiplier", 1)))
        self.bit_budget = state.get("bit_budget", self.bit_budget)
        for grid, (step, hidden) in zip(self.weights, state["grids"], strict=True):
            device = grid.step.device
            grid.step, grid.hidden = step.to(device, copy=True), hidden.to(device, copy=True)
