"""An optimizer around another one, for subclasses that change weights before or after its step."""

from __future__ import annotations

from typing import Any

import torch


class WrappedOptimizer:
    """What the training loop needs of an optimizer, passed on to the `inner` one."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner = inner

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the inner optimizer."""
        return self.inner.param_groups

    def zero_grad(self) -> None:
        """Clear the gradients."""
        self.inner.zero_grad()

    def step(self) -> None:
        """Update the weights."""
        self.inner.step()

    def state_dict(self) -> dict[str, Any]:
        """Everything beside the network that `load_state_dict` needs."""
        return {"inner": self.inner.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.inner.load_state_dict(state["inner"])
