"""Convolutions in groups of channels, computed as is fastest: torch 2.13 is slow at some of their gradients in bf16 on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight


class Grouped(nn.Conv2d):
    """A convolution in groups of channels: [n, c, h, w] -> [n, out, h, w].

    In bf16 on a CPU it is computed as a dense one whose other weights are zero: with few channels that is several times
    faster than torch's gradient of a depthwise convolution, which with dilation is wrong besides.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not half_on_cpu(x):
            return super().forward(x)
        group = torch.arange(self.groups)
        ours = group.repeat_interleave(self.out_channels // self.groups)[:, None]
        theirs = group.repeat_interleave(self.in_channels // self.groups)
        dense = self.weight.repeat(1, self.groups, 1, 1) * (ours == theirs)[:, :, None, None]
        # Padding that is wider than the kernel's steps is slow inside the convolution.
        padding, edge = (self.padding, 0) if self.dilation[0] == 1 else (0, int(self.padding[0]))
        return F.conv2d(F.pad(x, [edge] * 4) if edge else x, dense, self.bias, self.stride, padding, self.dilation)


class Depthwise(nn.Conv2d):
    """A filter for each channel, of an odd side, “same” padding: [n, c, h, w] -> [n, c, h', w'].

    In bf16 on a CPU with gradients of its own: torch 2.13's are up to a hundred times slower with a stride, and eight times with
    a side of more than three. Raises ValueError for an even side.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1, *, bias: bool = True) -> None:
        if kernel % 2 == 0:
            raise ValueError(f"depthwise filters have an odd side, not {kernel}")
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if not half_on_cpu(x):
            return super().forward(x)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        out: Tensor = _Depthwise.apply(x, self.weight.to(x.dtype), bias, self.stride[0])  # type: ignore[no-untyped-call]
        return out


class _Depthwise(torch.autograd.Function):
    """What reaches the input is the gradient, with zeros where strides left positions out, under the filters turned round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.biased = stride, bias is not None
        return F.conv2d(x, weight, bias, stride, weight.shape[2] // 2, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, channels, kernel = ctx.stride, len(weight), weight.shape[2]
        spread = gradient
        if stride > 1:
            spread = torch.zeros_like(x)
            spread[:, :, ::stride, ::stride] = gradient
        reaching = F.conv2d(spread, weight.flip(2, 3), None, 1, kernel // 2, 1, channels)
        if kernel > 3:
            of_weight = _gradient_by_blocks(x, spread, kernel)
        else:
            of_weight = conv2d_weight(x, weight.shape, gradient, stride, kernel // 2, 1, channels)  # type: ignore[no-untyped-call]
        return reaching, of_weight, gradient.sum((0, 2, 3)) if ctx.biased else None, None


def _gradient_by_blocks(x: Tensor, gradient: Tensor, kernel: int) -> Tensor:
    """That of depthwise filters [channels, 1, kernel, kernel], out of those of dense filters within blocks of channels."""
    channels = x.shape[1]
    block = min(range(16, 7, -1), key=lambda size: -channels % size)
    if missing := -channels % block:
        x, gradient = (F.pad(each, (0, 0, 0, 0, 0, missing)) for each in (x, gradient))
    blocks = x.shape[1] // block
    dense: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
        x, (x.shape[1], block, kernel, kernel), gradient, 1, kernel // 2, 1, blocks
    )
    own = torch.arange(channels)
    return dense[own, own % block][:, None]


def half_on_cpu(x: Tensor) -> bool:
    """Whether `x` is bf16 in the memory of the CPU."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16
