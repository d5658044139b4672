"""Magnitude pruning (Han et al., 2015, arXiv 1506.02626)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from squeezekit.quantization.wrapped_optimizer import WrappedOptimizer


def pruning_mask(weight: Tensor, density: float) -> Tensor:
    """Which weights of a layer to keep, bool in the shape of `weight`: the share `density` (0…1) of the largest magnitudes."""
    size = weight.detach().abs().flatten()
    return weight.detach().abs() >= size.kthvalue(len(size) - max(round(density * len(size)), 1) + 1).values


class PruningOptimizer(WrappedOptimizer):
    """An optimizer that keeps the weights outside of their masks at zero."""

    def __init__(self, inner: torch.optim.Optimizer, weights: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
        super().__init__(inner)
        self.weights, self.masks = weights, masks
        self._prune()

    def step(self) -> None:
        """Update the weights, and prune again."""
        self.inner.step()
        self._prune()

    @torch.no_grad()
    def _prune(self) -> None:
        for weight, mask in zip(self.weights, self.masks, strict=True):
            weight.mul_(mask)

    def state_dict(self) -> dict[str, Any]:
        """Everything beside the network that `load_state_dict` needs."""
        return {**super().state_dict(), "masks": list(self.masks)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.masks = state["masks"]
