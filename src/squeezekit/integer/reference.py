"""The integer reference: a plan computed in Python, to the same bit as the C code."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squeezekit.integer.plan import (
    LOW_BITS,
    IntegerConvolution,
    IntegerHead,
    IntegerPlan,
    IntegerPooling,
)

# Integers below it are exact in float32.
EXACT = 1 << 24


class IntegerNetwork(nn.Module):
    """A plan as a network: float [n, channels, side, side], pixels scaled to 0…1 -> logits, float [n, classes].

    Convolutions are computed in float32 or float64, where sums of integers below 2**24 or 2**53 are exact in any order; all
    else in int64.
    """

    def __init__(self, plan: IntegerPlan) -> None:
        super().__init__()
        self.plan = plan

    def forward(self, x: Tensor) -> Tensor:
        logits = self.integers((x * 255).round().to(torch.uint8))
        return (logits.double() * 2.0**-self.plan.fraction).float()

    def integers(self, pixels: Tensor) -> Tensor:
        """uint8 [n, channels, side, side] -> int64 logits [n, classes], in units of 2**-fraction."""
        logits = self._logits(pixels)
        return logits + self._logits(pixels.flip(3)) if self.plan.mirrored else logits

    def _logits(self, pixels: Tensor) -> Tensor:
        feature_maps: dict[int, Tensor] = {0: pixels.to(torch.int64)}
        for step in self.plan.steps:
            source = feature_maps[step.source]
            if isinstance(step, IntegerHead):
                return _head(source, step)
            if isinstance(step, IntegerPooling):
                feature_maps[step.target] = _max_pool(source, step.size)
            else:
                target = self.plan.feature_maps[step.target]
                if step.target not in feature_maps:
                    shape = (len(pixels), target.channels, target.height, target.width)
                    feature_maps[step.target] = torch.zeros(shape, dtype=torch.int64)
                part = slice(step.first, step.first + len(step.weights))
                residual = feature_maps[step.residual.source][:, part] if step.residual else None
                feature_maps[step.target][:, part] = _convolution(source, step, residual)
        raise AssertionError("a plan ends with its head")


def rescale(sums: Tensor, gain: Tensor, shift: int) -> Tensor:
    """From steps of a convolution's sums to steps of its feature map, at least 0 and rounded to nearest."""
    c = sums.clamp(min=0)
    # In 64 bits the product needs no two parts; the result is the same.
    return (c * gain + (1 << (LOW_BITS + shift - 1))) >> (LOW_BITS + shift)


def _convolution(x: Tensor, step: IntegerConvolution, residual: Tensor | None) -> Tensor:
    sums = _sums(x, step)
    if step.pooled:
        sums = _max_pool(sums, 2)
    rescaled = rescale(sums, _column(step.gain), step.shift).clamp(max=255)
    if step.residual is None or residual is None:
        return rescaled
    added = (residual * step.residual.gain + step.residual.offset) >> step.residual.shift
    return (rescaled + added - step.residual.below).clamp(0, 255)


def _sums(x: Tensor, step: IntegerConvolution) -> Tensor:
    if step.padding:
        n, channels, height, width = x.shape
        p = step.padding
        padded = torch.tensor(step.border).view(1, -1, 1, 1).expand(n, channels, height + 2 * p, width + 2 * p).clone()
        padded[:, :, p:-p, p:-p] = x
        x = padded
    most = 255 * np.abs(step.weights.reshape(len(step.weights), -1).astype(np.int64)).sum(1).max()
    kind = np.float32 if most < EXACT else np.float64
    weights = torch.from_numpy(step.weights.transpose(0, 3, 1, 2).astype(kind))
    groups = len(weights) if step.depthwise else 1
    return F.conv2d(x.to(weights.dtype), weights, stride=step.stride, groups=groups).long() + _column(step.bias)


def _max_pool(x: Tensor, size: int) -> Tensor:
    return F.max_pool2d(x.double(), size, stride=2, ceil_mode=True).long()


def _head(x: Tensor, head: IntegerHead) -> Tensor:
    weights, bias, gain = (torch.from_numpy(part.astype(np.int64)) for part in (head.weights, head.bias, head.gain))
    half = 1 << (head.shift - 1)
    if head.relu:
        sums = torch.einsum("nchw,kc->nhwk", x.double(), weights.double()).long() + bias
        return ((sums.clamp(min=0) * gain + half) >> head.shift).sum((1, 2))
    pooled = x.sum((2, 3))
    if head.drop:
        pooled = (pooled + (1 << (head.drop - 1))) >> head.drop
    return ((pooled @ weights.T + bias) * gain + half) >> head.shift


def _column(numbers: np.ndarray) -> Tensor:
    return torch.from_numpy(numbers.astype(np.int64)).view(1, -1, 1, 1)
