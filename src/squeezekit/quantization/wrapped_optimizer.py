"""Optimisers around another, which do something with the weights before and after it moves them."""

from __future__ import annotations

from typing import Any

import torch


class WrappedOptimizer:
    """What the training loop needs, handed on to the `inner` optimiser."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner = inner

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the inner optimiser."""
        return self.inner.param_groups

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.inner.zero_grad()

    def step(self) -> None:
        """Move the weights."""
        self.inner.step()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on, beside the network."""
        return {"inner": self.inner.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` put away."""
        self.inner.load_state_dict(state["inner"])
