"""The average of a network's weights over time."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """An exponential moving average of weights and of batch normalisation's statistics (Polyak and Juditsky, 1992).

    After step t (from 0) the average keeps the share min(`share`, (1 + t) ÷ (10 + t)) of itself, so that the untrained
    beginning is soon forgotten. `network` is a copy of the network that holds the average.
    """

    def __init__(self, network: nn.Module, share: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._share = share
        device = next(network.parameters()).device
        # A tensor, since a recorded step must read it anew.
        self._taken = torch.zeros((), device=device)
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        self._averaged, self._latest = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    def prepare(self, step: int) -> None:
        """Say which step comes next, from 0."""
        self._taken.fill_(1 - min(self._share, (1 + step) / (10 + step)))

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights as they are after the step."""
        change = torch._foreach_sub(self._latest, self._averaged)
        torch._foreach_mul_(change, self._taken)
        torch._foreach_add_(self._averaged, change)
        for kept, latest in self._counts:
            kept.copy_(latest)
