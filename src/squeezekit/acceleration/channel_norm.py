"""Layer normalization over the channels of each pixel, by torch's own operation and a kernel for the gradients of its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from squeezekit.acceleration.dispatch import fit, kernels, rows, threads
from squeezekit.networks.channel_norm import ChannelNorm


class FusedChannelNorm(ChannelNorm):
    """`ChannelNorm` that reads bf16 without copies in float32: [n, c, h, w] -> [n, c, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        if not fit(x):
            return super().forward(x)
        out: Tensor = _Normalized.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return out


class _Normalized(torch.autograd.Function):
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
        sums = kernels().gradient_sums_of_rows(rows(x), mean.numpy().ravel(), inverse.numpy().ravel(), rows(gradient), threads())
        of_weight, of_bias = (torch.from_numpy(numbers).to(weight.dtype) for numbers in sums)
        return out.permute(0, 3, 1, 2), of_weight, of_bias, None
