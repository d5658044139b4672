"""Batch normalization whose batch is spread over several processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from squeezekit.acceleration.fused_ops import FusedBatchNorm


class SynchronizedBatchNorm(FusedBatchNorm):
    """Batch normalization with mean and variance of the batches of all processes together.

    torch's SyncBatchNorm does the same, but refuses CPUs and waits for the GPU at every call. Shapes: [n, c, …] ->
    [n, c, …]; n may differ between processes, and be 0.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        total = torch.from_numpy(sums.copy())
        dist.all_reduce(total)
        return total.numpy()

    def plain(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().plain(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        others = [0, *range(2, x.ndim)]
        channels = [1, -1] + [1] * (x.ndim - 2)
        places = wide.new_full((1,), x.numel() / x.shape[1])
        sums = over_processes(torch.cat([wide.sum(others), places]))
        count = sums[-1]
        mean = sums[:-1] / count
        centred = wide - mean.view(channels)
        variance = over_processes(centred.square().sum(others)) / count
        self._remember(mean.detach(), (variance * count / (count - 1)).detach())
        scale = (variance + self.eps).rsqrt() * self.weight
        normalized: Tensor = centred * scale.view(channels) + self.bias.view(channels)
        return normalized.to(x.dtype)

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


def use_synchronized_batch_norm(network: nn.Module) -> None:
    """Make every batch normalization of `network` one over all processes; parameters and their names stay."""
    for module in network.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, FusedBatchNorm):
            module.__class__ = SynchronizedBatchNorm
