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
                updates = _orthogonal(updates)
            # Not as alpha: on a GPU the rate is a tensor.
            torch._foreach_mul_(updates, -group["lr"])
            torch._foreach_add_(parameters, updates)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        return momentum


def _orthogonal(updates: list[Tensor]) -> list[Tensor]:
    """Each filter's update [out, in, k, k] made orthogonal."""
    # Columns in the order of channels-last memory: which order does not matter to the result, and none is copied.
    matrices = [update.permute(0, 2, 3, 1).flatten(1) for update in updates]
    made = _orthogonal_at_once(matrices) if matrices[0].is_cuda else [orthogonal(matrix) for matrix in matrices]
    shapes = [(len(update), *update.shape[2:], update.shape[1]) for update in updates]
    return [matrix.reshape(shape).permute(0, 3, 1, 2) for matrix, shape in zip(made, shapes, strict=True)]


def _orthogonal_at_once(matrices: list[Tensor]) -> list[Tensor]:
    """As `orthogonal`, all matrices in one stack, whose zeros beside the smaller ones stay zeros.

    In bf16, which is enough for singular values of about 1 (Jordan et al., 2024): a GPU then waits neither for many small
    kernels nor for arithmetic.
    """
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in matrices]
    sides = [max(matrix.shape[side] for matrix in wide) for side in (0, 1)]
    stack = torch.zeros(len(wide), *sides, dtype=torch.bfloat16, device=wide[0].device)
    places = [place[: matrix.shape[0], : matrix.shape[1]] for place, matrix in zip(stack, wide, strict=True)]
    norms = torch._foreach_norm(wide)
    torch._foreach_copy_(places, [matrix / (norm + 1e-7) for matrix, norm in zip(wide, norms, strict=True)])
    made = [
        place[: matrix.shape[0], : matrix.shape[1]].float() for place, matrix in zip(_newton_schulz(stack), wide, strict=True)
    ]
    return [x if x.shape == matrix.shape else x.T for x, matrix in zip(made, matrices, strict=True)]


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the orthogonal factor U·Vᵀ of a matrix U·S·Vᵀ, by Newton–Schulz steps: [m, n] -> [m, n]."""
    x = matrix / (matrix.norm() + 1e-7)
    return _newton_schulz(x) if x.shape[0] <= x.shape[1] else _newton_schulz(x.T).T


def _newton_schulz(x: Tensor) -> Tensor:
    """Wide matrices [..., m, n], m ≤ n, of Frobenius norm 1."""
    a, b, c = QUINTIC
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
