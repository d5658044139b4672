"""Convolutions in groups of channels, computed as is fastest: torch 2.13 is slow at some of their gradients in bf16 on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

# Of a dense convolution in the place of a grouped one.
FEW_CHANNELS = 64


class Grouped(nn.Conv2d):
    """A convolution in groups of few channels: [n, c, h, w] -> [n, out, h', w'].

    In bf16 on a CPU it is computed as a dense one whose other weights are zero: with few channels that is several times
    faster than torch's gradient of a depthwise convolution, which with dilation is wrong besides.
    """

    @staticmethod
    def serves(layer: nn.Conv2d) -> bool:
        """Whether `layer` can be one, and be faster: few channels, square, padded with zeros."""
        square = all(len({*sizes}) == 1 for sizes in (layer.dilation, layer.padding)) and layer.padding_mode == "zeros"
        return layer.groups > 1 and layer.in_channels <= FEW_CHANNELS and square and not isinstance(layer.padding, str)

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
    a side of more than three.
    """

    @staticmethod
    def serves(layer: nn.Conv2d) -> bool:
        """Whether `layer` can be one."""
        side, stride = layer.kernel_size[0], layer.stride[0]
        shape = (layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.padding_mode)
        same = (layer.in_channels, (side, side), (stride, stride), (side // 2, side // 2), (1, 1), "zeros")
        return layer.groups == layer.in_channels > 1 and side % 2 == 1 and shape == same

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


class Blur(nn.AvgPool2d):
    """The mean of each pixel's 3 × 3 neighbours, 0 beyond the edges: [n, c, h, w] -> [n, c, h, w].

    In bf16 on a CPU it is computed as a dense convolution, which with few channels is faster.
    """

    @staticmethod
    def serves(pool: nn.AvgPool2d) -> bool:
        """Whether `pool` is such a mean."""
        shape = (pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, pool.count_include_pad, pool.divisor_override)
        return shape == (3, 1, 1, False, True, None)

    def forward(self, x: Tensor) -> Tensor:
        if not (half_on_cpu(x) and x.ndim == 4 and x.shape[1] <= FEW_CHANNELS):
            return super().forward(x)
        ninth = torch.eye(x.shape[1], dtype=x.dtype)[:, :, None, None].expand(-1, -1, 3, 3) / 9
        return F.conv2d(x, ninth, padding=1)
