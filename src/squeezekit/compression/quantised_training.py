"""Training on a grid: weights are rounded in every step, and what it costs to write them down is part of the loss.

The network always holds rounded weights; behind them stand unrounded ones, which get the gradient of the rounded ones
(straight-through estimator; Bengio et al., 2013, arXiv 1308.3432) and that of their code length. With batch normalisation
behind a filter its size does not matter, so shrinking makes its grid coarser: the pressure alone decides how many bits each
filter keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Below this mean magnitude a zero costs next to nothing, and the pressure grows no more.
LEAST_MEAN = 0.02


@dataclass
class GridWeight:
    """A weight [out, in, ...] of the network, the step of its grid, and the unrounded weight behind it."""

    weight: Tensor
    step: float
    hidden: Tensor

    @classmethod
    def of(cls, weight: Tensor, step: float) -> GridWeight:
        """The grid of that step; the weight is rounded."""
        found = cls(weight, step, weight.detach().clone())
        found.round()
        return found

    @torch.no_grad()
    def round(self) -> None:
        """Put the rounded weight into the network."""
        self.weight.copy_(self.integers() * self.step)

    def integers(self) -> Tensor:
        """The rounded weight in steps."""
        return (self.hidden / self.step).round()

    def code_lengths(self) -> tuple[Tensor, Tensor]:
        """About how many bits each weight costs, and how many more a step away from zero would.

        Magnitudes are taken as geometrically distributed, their mean that of row and input channel, as the coder sees them.
        """
        steps = (self.hidden / self.step).abs()
        size = steps.round().flatten(2)
        rows, columns = size.mean((1, 2), keepdim=True), size.mean((0, 2), keepdim=True)
        mean = (rows * columns / size.mean().clamp(min=LEAST_MEAN)).clamp(min=LEAST_MEAN)
        further = torch.log2(1 + 1 / mean).expand_as(size).reshape(steps.shape)
        bits = steps * further + steps.clamp(max=1) + torch.log2(1 + mean).expand_as(size).reshape(steps.shape)
        return bits, further + (steps < 1)


class GridOptimizer:
    """An optimiser of rounded weights around one of unrounded ones.

    `pressure` is what a bit a weight adds to the loss, in nats.
    """

    def __init__(self, inner: torch.optim.Optimizer, weights: Sequence[GridWeight], pressure: float) -> None:
        self.inner, self.weights, self.pressure = inner, weights, pressure
        self._count = sum(grid.weight.numel() for grid in weights)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the inner optimiser."""
        return self.inner.param_groups

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.inner.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        """Move the unrounded weights by the gradients of the rounded ones and of the code length; round again."""
        for grid in self.weights:
            assert grid.weight.grad is not None
            slope = grid.code_lengths()[1] * grid.hidden.sign()
            grid.weight.copy_(grid.hidden)
            grid.weight.grad += slope * (self.pressure / self._count / grid.step)
        self.inner.step()
        for grid in self.weights:
            grid.hidden.copy_(grid.weight)
            grid.round()

    @torch.no_grad()
    def bits(self) -> float:
        """About how many bits a weight costs now."""
        return float(sum(grid.code_lengths()[0].sum() for grid in self.weights)) / self._count

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {"inner": self.inner.state_dict(), "hidden": [grid.hidden for grid in self.weights]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` put away."""
        self.inner.load_state_dict(state["inner"])
        for grid, hidden in zip(self.weights, state["hidden"], strict=True):
            grid.hidden.copy_(hidden)
            grid.round()
