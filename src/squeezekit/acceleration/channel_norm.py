"""Layer normalization over the channels of each pixel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from squeezekit.acceleration import kernels
from squeezekit.acceleration.dispatch import fit, rows, threads


class ChannelNorm(nn.LayerNorm):
    """Each pixel's channels less their mean and over their deviation, computed in float32 also beside bf16.

    Ba et al., 2016, arXiv 1607.06450, of one pixel: [n, c, h, w] -> [n, c, h, w].
    """

    def forward(self, x: Tensor) -> Tensor:
        if fit(x):
            out: Tensor = _Normalised.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
            return out
        pixels = x.permute(0, 2, 3, 1).to(self.weight.dtype)
        normal = F.layer_norm(pixels, self.normalized_shape, self.weight, self.bias, self.eps)
        return normal.permute(0, 3, 1, 2).to(x.dtype)


class _Normalised(torch.autograd.Function):
    """torch's own operations read bf16 beside float32 weights, but add up the gradients of these in bf16 (2.13)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        pixels = x.permute(0, 2, 3, 1)
        out, mean, inverse = torch.native_layer_norm(pixels, [x.shape[1]], weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, mean, inverse)
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, bias, mean, inverse = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        arriving, pixels = gradient.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)
        out, _, _ = torch.ops.aten.native_layer_norm_backward(
            arriving, pixels, [x.shape[1]], mean, inverse, weight, bias, [True, False, False]
        )
        sums = kernels.gradient_sums_of_rows(rows(x), mean.numpy().ravel(), inverse.numpy().ravel(), rows(gradient), threads())
        of_weight, of_bias = (torch.from_numpy(numbers).to(weight.dtype) for numbers in sums)
        return out.permute(0, 3, 1, 2), of_weight, of_bias, None
