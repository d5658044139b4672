"""Weights averaged over the last steps of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of what a network has in its state, as `decay` says: 0.99 averages about 100 steps.

    The first steps, which know little, count for less (`(1 + steps) / (10 + steps)` bounds the decay, as in TensorFlow's
    ExponentialMovingAverage). Whole numbers are those of the last step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._state, self._decay, self.steps = network.state_dict(), decay, 0
        self.average = {name: tensor.clone() for name, tensor in self._state.items()}

    @torch.no_grad()
    def step(self) -> None:
        """Take in the weights after one more step."""
        self.steps += 1
        share = 1 - min(self._decay, (1 + self.steps) / (10 + self.steps))
        for name, tensor in self._state.items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, share)
            else:
                self.average[name].copy_(tensor)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While it lasts, the network has the averaged weights."""
        own = {name: tensor.clone() for name, tensor in self._state.items()}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self._state.items():
            tensor.copy_(tensors[name])

    def state(self) -> dict[str, object]:
        """What `restore` needs."""
        return {"steps": self.steps, "average": self.average}

    def restore(self, state: Mapping[str, object]) -> None:
        """Go on from what `state` returned; raises what tensors of another network raise."""
        steps, average = state["steps"], state["average"]
        if not isinstance(steps, int) or not isinstance(average, dict) or set(average) != set(self.average):
            raise ValueError("no such average")
        self.steps = steps
        for name, tensor in self.average.items():
            tensor.copy_(average[name])
