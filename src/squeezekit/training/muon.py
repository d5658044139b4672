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
# Keeps what is all zeros from being divided by zero.
TINY = 1e-7


class Muon(Optimizer):
    """Momentum whose update is made orthogonal (Jordan et al., 2024, “Muon: an optimizer for hidden layers”).

    `filters` [out, in, k, k] are seen as matrices [out, in·k²], and brought to Frobenius norm √out before each update,
    which changes nothing where batch normalization follows, and only there. `groups` are parameter groups, as torch's,
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
                move = moved_at_once if parameters[0].is_cuda else moved
                move(parameters, updates, group["lr"])
            else:
                # Not as alpha: on a GPU the rate is a tensor.
                torch._foreach_mul_(updates, -group["lr"])
                torch._foreach_add_(parameters, updates)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        return momentum


def moved(filters: list[Tensor], updates: list[Tensor], rate: float) -> None:
    """Bring each filter [out, in, k, k] to its norm and move it against its update made orthogonal, in place."""
    for weights, update in zip(filters, updates, strict=True):
        weights.mul_(len(weights) ** 0.5 / (weights.norm() + TINY))
        weights.sub_(orthogonal(update.flatten(1)).view_as(update), alpha=rate)


def moved_at_once(filters: list[Tensor], updates: list[Tensor], rate: float | Tensor) -> None:
    """As `moved`, all updates in one stack of matrices, where the zeros beside the smaller ones stay zeros.

    In bf16, which is enough for singular values of about 1 (Jordan et al., 2024): a GPU then waits neither for hundreds of
    small kernels nor for arithmetic.
    """
    scales = torch._foreach_add(torch._foreach_norm(filters), TINY)
    torch._foreach_reciprocal_(scales)
    torch._foreach_mul_(scales, [len(weights) ** 0.5 for weights in filters])
    matrices = [_in_memory_order(update) for update in updates]
    sides = [max(sorted(matrix.shape)[side] for matrix in matrices) for side in (0, 1)]
    stack = torch.zeros(len(matrices), *sides, dtype=torch.bfloat16, device=filters[0].device)
    for place, matrix in zip(_places(stack, matrices), matrices, strict=True):
        place.copy_(matrix)
    steps = _newton_schulz(stack / (torch.linalg.vector_norm(stack, dim=(1, 2), keepdim=True) + TINY)).mul_(rate)
    for weights, scale, step in zip(filters, scales, _places(steps, matrices), strict=True):
        move = step.unflatten(1, (*weights.shape[2:], weights.shape[1])).permute(0, 3, 1, 2)  # type: ignore[no-untyped-call]
        weights.mul_(scale).sub_(move)


def _in_memory_order(filters: Tensor) -> Tensor:
    """[out, in, k, k] -> [out, k·k·in], which channels-last filters are without a copy."""
    return filters.permute(0, 2, 3, 1).flatten(1)


def _places(stack: Tensor, matrices: list[Tensor]) -> list[Tensor]:
    """Where each matrix [m, n] lies in a stack [matrices, …] of wide ones: a view of its shape."""
    turned = [place if len(matrix) <= matrix.shape[1] else place.T for place, matrix in zip(stack, matrices, strict=True)]
    return [place[: len(matrix), : matrix.shape[1]] for place, matrix in zip(turned, matrices, strict=True)]


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the orthogonal factor U·Vᵀ of a matrix U·S·Vᵀ, by Newton–Schulz steps: [m, n] -> [m, n]."""
    x = matrix / (matrix.norm() + TINY)
    return _newton_schulz(x) if x.shape[0] <= x.shape[1] else _newton_schulz(x.T).T


def _newton_schulz(x: Tensor) -> Tensor:
    """Wide matrices [..., m, n], m ≤ n, of Frobenius norm 1."""
    a, b, c = QUINTIC
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
