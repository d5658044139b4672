"""The optimiser Muon, with SGD for what it does not serve."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# A quintic that lifts every singular value into about 0.7…1.2 within few steps.
QUINTIC = (3.4445, -4.7750, 2.0315)
STEPS = 3


class Muon(Optimizer):
    """Momentum whose update is made orthogonal (Jordan et al., 2024, “Muon: an optimizer for hidden layers”).

    `filters` [out, in, k, k] are seen as matrices [out, in·k²], and brought to Frobenius norm √out before each update,
    which changes nothing where batch normalisation follows, and only there. `groups` are parameter groups, as torch's,
    for SGD with Nesterov momentum and weight decay.
    """

    def __init__(self, filters: Iterable[Tensor], groups: list[dict[str, Any]], *, rate: float, momentum: float) -> None:
        muon = {"params": list(filters), "lr": rate, "momentum": momentum, "weight_decay": 0.0, "orthogonal": True}
        super().__init__([muon, *groups], {"lr": rate, "momentum": momentum, "weight_decay": 0.0, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients = [p.grad for p in parameters]
            if group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
            momenta = [self._momentum(p) for p in parameters]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, gradients)
            updates = list(torch._foreach_add(gradients, momenta, alpha=group["momentum"]))
            if group["orthogonal"]:
                for parameter in parameters:
                    parameter.mul_(len(parameter) ** 0.5 / (parameter.norm() + 1e-7))
                updates = [orthogonal(update.flatten(1)).view_as(update) for update in updates]
            torch._foreach_add_(parameters, updates, alpha=-group["lr"])

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        return momentum


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the orthogonal factor U·Vᵀ of a matrix U·S·Vᵀ, by Newton–Schulz steps: [m, n] -> [m, n]."""
    a, b, c = QUINTIC
    x = matrix / (matrix.norm() + 1e-7)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    for _ in range(STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x if wide else x.T
    return result
