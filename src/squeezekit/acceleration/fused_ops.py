"""What follows convolutions: joining branches, batch normalization, ReLU, a bypass, max-pooling.

On a CPU these are bound by memory, and with torch's own operations they take most of a training step (docs/log.md). Here each
reads and writes its feature maps as seldom as can be (`kernels.py`), where they are channels-last and kernels are in use;
everywhere else they are torch's operations, and the two are equal up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from squeezekit.acceleration.dispatch import empty, fit, kernels, pixels, rows, threads, working
from squeezekit.acceleration.pooling import MaxPool

Numbers = NDArray[np.float64]
# The least and the most that a value may be.
UNLIMITED, RECTIFIED = (-math.inf, math.inf), (0.0, math.inf)


class FusedBatchNorm(nn.BatchNorm2d):
    """Batch normalization that can be computed together with what stands around it: [n, c, h, w] -> [n, c, h, w]."""

    @staticmethod
    def serves(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> bool:
        """Whether `norm` can be one: with weights and running statistics of a fixed momentum, as by default."""
        return norm.affine and norm.track_running_stats and norm.momentum is not None

    def forward(self, x: Tensor) -> Tensor:
        return _finished([x], self, UNLIMITED) if fit(x) else self.plain(x)

    def plain(self, x: Tensor) -> Tensor:
        """By torch's own operation."""
        return super().forward(x)

    def reduce(self, sums: Numbers) -> Numbers:
        """Sums over all that share a batch, from those of this process."""
        return sums


def finished(branches: Sequence[Tensor], norm: nn.Module, *, rectify: bool = True, bypass: Tensor | None = None) -> Tensor:
    """Join [n, cᵢ, h, w] to [n, Σcᵢ, h, w], normalize by `norm` (batch normalization or nothing), rectify, add `bypass`."""
    normal = norm if isinstance(norm, FusedBatchNorm) else None
    # A ReLU alone cannot be done faster than torch does it.
    if (normal or len(branches) > 1) and fit(*branches, *([] if bypass is None else [bypass])):
        return _finished(branches, normal, RECTIFIED if rectify else UNLIMITED, bypass)
    if len(branches) > 1 and type(norm) is FusedBatchNorm and torch.compiler.is_compiling():
        out = joined(branches, norm, rectify=rectify)
    else:
        out = norm(branches[0] if len(branches) == 1 else torch.cat(list(branches), 1))
        out = F.relu(out, inplace=True) if rectify else out
    return out if bypass is None else out + bypass


def joined(branches: Sequence[Tensor], norm: FusedBatchNorm, *, rectify: bool) -> Tensor:
    """As `finished` without a bypass, each branch normalized before all are joined.

    For torch.compile, which joins all that in a few kernels: the other way, the gradient of every branch is a slice, which
    convolutions copy before they take it.
    """
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked += 1
    sizes = [x.shape[1] for x in branches]
    parts = zip(*(torch.split(x, sizes) for x in (norm.running_mean, norm.running_var, norm.weight, norm.bias)), strict=True)
    normalized = [
        F.batch_norm(x, mean, variance, weight, bias, norm.training, norm.momentum, norm.eps)
        for x, (mean, variance, weight, bias) in zip(branches, parts, strict=True)
    ]
    return torch.cat([F.relu(x, inplace=True) for x in normalized] if rectify else normalized, 1)


def normalized_and_clipped(x: Tensor, norm: FusedBatchNorm, most: float) -> Tensor:
    """`norm` of `x`, then no less than 0 and no more than `most`: [n, c, h, w] -> [n, c, h, w]."""
    return _finished([x], norm, (0.0, most)) if fit(x) else F.hardtanh(norm(x), 0.0, most, inplace=True)


def _finished(
    branches: Sequence[Tensor], norm: FusedBatchNorm | None, limits: tuple[float, float], bypass: Tensor | None = None
) -> Tensor:
    weights = (norm.weight, norm.bias) if norm else (None, None)
    out: Tensor = _Finished.apply(norm, limits, *weights, bypass, *branches)  # type: ignore[no-untyped-call]
    return out


def finished_and_pooled(branches: Sequence[Tensor], norm: nn.Module, pool: MaxPool) -> Tensor:
    """As `finished` without a bypass, then `pool`: [n, cᵢ, h, w] -> [n, Σcᵢ, h', w'].

    ReLU comes after pooling, which leaves it fewer values. Where windows do not overlap, normalization does so as well: what it
    comes to is rising or falling in each channel, so that the largest (smallest) of a window is found first.
    """
    side = pool.kernel_size
    if not (side == pool.stride and fit(*branches) and (pool.ceil_mode or not any(x % side for x in branches[0].shape[2:]))):
        return pool.rectified(finished(branches, norm, rectify=False))
    normal = norm if isinstance(norm, FusedBatchNorm) else None
    weights = (normal.weight, normal.bias) if normal else (None, None)
    out: Tensor = _FinishedAndPooled.apply(normal, side, *weights, *branches)  # type: ignore[no-untyped-call]
    return out


@dataclass(frozen=True)
class _Affine:
    """What normalization comes to: x · scale + shift, channel by channel, float64 [channels].

    `mean` and `inverse` (1 ÷ deviation) are those of the batch where `count`, the values that they are of, is not 0.
    """

    norm: FusedBatchNorm | None
    scale: Numbers
    shift: Numbers
    mean: Numbers
    inverse: Numbers
    count: float = 0

    @classmethod
    def of(cls, norm: FusedBatchNorm | None, branches: Sequence[Tensor]) -> _Affine:
        """What `norm` comes to for these branches; its running statistics move where it trains."""
        if norm is None:
            zeros = np.zeros(sum(x.shape[1] for x in branches))
            return cls(None, zeros + 1, zeros, zeros, zeros + 1)
        weight, bias = (x.detach().double().numpy() for x in (norm.weight, norm.bias))
        if norm.training:
            mean, variance, count = _statistics(norm, branches)
        else:
            assert norm.running_mean is not None and norm.running_var is not None
            mean, variance, count = norm.running_mean.double().numpy(), norm.running_var.double().numpy(), 0.0
        inverse = 1 / np.sqrt(variance + norm.eps)
        return cls(norm, weight * inverse, bias - mean * weight * inverse, mean, inverse, count)

    def feedback(self, sums: Numbers) -> tuple[Numbers, Numbers]:
        """What reaches each value by way of the batch's mean and deviation: (x − mean) · slope + constant.

        `sums` [2, channels] are those of the gradient g that reaches x · scale + shift, and of g · (x − mean).
        """
        if self.norm is None or not self.count:
            return np.zeros_like(self.scale), np.zeros_like(self.scale)
        total = self.norm.reduce(sums.ravel()).reshape(2, -1) / self.count
        return -self.scale * self.inverse**2 * total[1], -self.scale * total[0]

    def gradients(self, sums: Numbers) -> tuple[Tensor | None, Tensor | None]:
        """Those of the weight and the bias of the norm."""
        if self.norm is None:
            return None, None
        weight, bias = (torch.from_numpy(x).to(self.norm.weight.dtype) for x in (sums[1] * self.inverse, sums[0]))
        return weight, bias


def _statistics(norm: FusedBatchNorm, branches: Sequence[Tensor]) -> tuple[Numbers, Numbers, float]:
    """Mean and variance of the batch, for each channel, and of how many values; the running ones move towards them."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
    assert norm.num_batches_tracked is not None
    # Running means lie near, so that little is lost where squares are subtracted; and all processes know them.
    origin = norm.running_mean.double().numpy().astype(working(branches[0]))
    parts = threads()
    found = [kernels().moments(rows(x), origin[there], parts) for x, there in _places(branches)]
    total = norm.reduce(np.append(np.concatenate(found, 1).ravel(), rows(branches[0]).shape[0]))
    count = float(total[-1])
    distance, square = total[:-1].reshape(2, -1) / count
    with np.errstate(invalid="ignore"):
        # Where training has diverged; the loss will tell.
        mean, variance = origin + distance, np.maximum(square - distance**2, 0)
    unbiased = variance * (count / max(count - 1, 1))
    for running, latest in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        running.lerp_(torch.from_numpy(latest).to(running.dtype), norm.momentum)
    norm.num_batches_tracked += 1
    return mean, variance, count


def _places(branches: Sequence[Tensor]) -> list[tuple[Tensor, slice]]:
    """Each branch with the channels that are its own once they are joined."""
    borders = np.cumsum([0, *(x.shape[1] for x in branches)]).tolist()
    return [(x, slice(*ends)) for x, ends in zip(branches, pairwise(borders), strict=True)]


class _Finished(torch.autograd.Function):
    """`finished`, by kernels; with a bypass, nothing has a most."""

    @staticmethod
    def forward(
        context: Any,
        norm: FusedBatchNorm | None,
        limits: tuple[float, float],
        weight: Tensor | None,
        bias: Tensor | None,
        bypass: Tensor | None,
        *branches: Tensor,
    ) -> Tensor:
        """See `finished`."""
        like, kind, parts = branches[0], working(branches[0]), threads()
        affine = _Affine.of(norm, branches)
        scale, shift = affine.scale.astype(kind), affine.shift.astype(kind)
        out = empty((len(like), len(scale), *like.shape[2:]), like.dtype)
        for x, there in _places(branches):
            first, gain, added = there.start, scale[there], shift[there]
            if bypass is None:
                kernels().scaled(rows(x), gain, added, *limits, rows(out), first, parts)
            else:
                kernels().scaled_and_added(rows(x), gain, added, limits[0], rows(bypass), rows(out), first, parts)
        context.save_for_backward(*branches)
        context.affine, context.limits = affine, limits
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of weight, bias, bypass and branches."""
        arriving = gradients[0].contiguous(memory_format=torch.channels_last)
        affine, (floor, ceiling), kind, parts = context.affine, context.limits, working(arriving), threads()
        scale, shift, mean = (x.astype(kind) for x in (affine.scale, affine.shift, affine.mean))
        places, sums = _places(context.saved_tensors), np.zeros((2, len(scale)))
        for x, there in places if affine.norm else ():
            gain, added, middle = scale[there], shift[there], mean[there]
            sums[:, there] = kernels().gradient_moments(
                rows(x), gain, added, middle, floor, ceiling, rows(arriving), there.start, parts
            )
        slope, constant = (x.astype(kind) for x in affine.feedback(sums))
        leaving = [empty(tuple(x.shape), x.dtype) for x, _there in places]
        for (x, there), out in zip(places, leaving, strict=True):
            gain, added, middle = scale[there], shift[there], mean[there]
            kernels().gradient_of_scaled(
                rows(x),
                gain,
                added,
                middle,
                slope[there],
                constant[there],
                floor,
                ceiling,
                rows(arriving),
                there.start,
                rows(out),
                parts,
            )
        return None, None, *affine.gradients(sums), arriving if context.needs_input_grad[4] else None, *leaving


class _FinishedAndPooled(torch.autograd.Function):
    """`finished_and_pooled`, by kernels."""

    @staticmethod
    def forward(
        context: Any, norm: FusedBatchNorm | None, side: int, weight: Tensor | None, bias: Tensor | None, *branches: Tensor
    ) -> Tensor:
        """See `finished_and_pooled`."""
        like, kind, parts = branches[0], working(branches[0]), threads()
        affine = _Affine.of(norm, branches)
        scale, shift = affine.scale.astype(kind), affine.shift.astype(kind)
        rising = np.where(scale < 0, -1, 1).astype(kind)
        chosen = empty((len(like), len(scale), *(-(-length // side) for length in like.shape[2:])), like.dtype)
        winners = torch.empty_like(chosen, dtype=torch.uint8)
        for x, there in _places(branches):
            kernels().pooled(pixels(x), side, side, rising[there], False, pixels(chosen), pixels(winners), there.start, parts)
        out = torch.empty_like(chosen)
        kernels().scaled(rows(chosen), scale, shift, *RECTIFIED, rows(out), 0, parts)
        context.save_for_backward(chosen, winners, *branches)
        context.affine, context.side = affine, side
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of weight, bias and branches."""
        arriving = gradients[0].contiguous(memory_format=torch.channels_last)
        chosen, winners, *branches = context.saved_tensors
        affine, kind, parts = context.affine, working(chosen), threads()
        scale, shift, mean = (x.astype(kind) for x in (affine.scale, affine.shift, affine.mean))
        sums = np.zeros((2, len(scale)))
        if affine.norm:
            sums = kernels().gradient_moments(rows(chosen), scale, shift, mean, *RECTIFIED, rows(arriving), 0, parts)
        slope, constant = (x.astype(kind) for x in affine.feedback(sums))
        nothing, reaching = np.zeros_like(scale), torch.empty_like(chosen)
        kernels().gradient_of_scaled(
            rows(chosen), scale, shift, mean, nothing, nothing, *RECTIFIED, rows(arriving), 0, rows(reaching), parts
        )
        leaving = [empty(tuple(x.shape), x.dtype) for x in branches]
        for (x, there), out in zip(_places(branches), leaving, strict=True):
            middle, tilt, level = mean[there], slope[there], constant[there]
            kernels().gradient_of_normalized_and_pooled(
                pixels(x), middle, tilt, level, pixels(reaching), pixels(winners), context.side, there.start, pixels(out), parts
            )
        return None, None, *affine.gradients(sums), *leaving
