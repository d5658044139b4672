"""Batch normalisation whose batch is spread over several processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class GlobalBatchNorm(nn.BatchNorm2d):
    """Batch normalisation with mean and variance of the batches of all processes together, on a CPU.

    torch's SyncBatchNorm, which does the same, refuses CPUs. Shapes: [n, c, h, w] -> [n, c, h, w], n may differ and be 0.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        places = wide.new_tensor([x.numel() / x.shape[1]])
        sums = over_processes(torch.cat([wide.sum((0, 2, 3)), places]))
        count = sums[-1]
        mean = sums[:-1] / count
        centred = wide - mean[:, None, None]
        variance = over_processes(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), (variance * count / (count - 1)).detach())
        scale = (variance + self.eps).rsqrt() * self.weight
        normalised: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


class SumOverProcesses(torch.autograd.Function):
    """The sum of every process's tensor, and in the other direction the sum of every process's gradient."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        """The sum, on every process."""
        total = x.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """What reaches this process's tensor from all the losses."""
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def over_processes(x: Tensor) -> Tensor:
    """`SumOverProcesses`, as a function."""
    total: Tensor = SumOverProcesses.apply(x)  # type: ignore[no-untyped-call]
    return total


def use_global_statistics(network: nn.Module) -> None:
    """Make every batch normalisation of `network` one over all processes; parameters and their names stay."""
    if next(network.parameters()).is_cuda:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm
