"""Max-pooling, and the average over all pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from squeezekit.acceleration import kernels
from squeezekit.acceleration.dispatch import empty, fit, maps, threads, working
from squeezekit.networks.dropout import Dropout


class MaxPool(nn.MaxPool2d):
    """Max-pooling without padding: [n, c, h, w] -> [n, c, h', w']."""

    rectify = False

    def forward(self, x: Tensor) -> Tensor:
        side, stride = self.kernel_size, self.stride
        if fit(x) and isinstance(side, int) and isinstance(stride, int) and side >= stride:
            out: Tensor = _Pooled.apply(x, side, stride, self.ceil_mode, self.rectify)  # type: ignore[no-untyped-call]
            return out
        out = super().forward(x)
        return F.relu(out, inplace=True) if self.rectify else out


class RectifiedMaxPool(MaxPool):
    """Max-pooling, then ReLU: the same as ReLU, then max-pooling, on a quarter of the values or fewer."""

    rectify = True


def averaged(x: Tensor, dropout: nn.Module) -> Tensor:
    """The mean over all pixels of what `dropout` leaves: [n, c, h, w] -> [n, c]."""
    if not (isinstance(dropout, Dropout) and fit(x)):
        mean: Tensor = dropout(x).mean((2, 3))
        return mean
    mask, kept = dropout.mask(x)
    out: Tensor = _Averaged.apply(x, mask, kept)  # type: ignore[no-untyped-call]
    return out


class _Pooled(torch.autograd.Function):
    """`MaxPool`, by kernels."""

    @staticmethod
    def forward(context: Any, x: Tensor, side: int, stride: int, ceil_mode: bool, rectify: bool) -> Tensor:
        """See `MaxPool`."""
        n, channels, *lengths = x.shape
        out = empty((n, channels, *(_windows(length, side, stride, ceil_mode) for length in lengths)), x.dtype)
        winners = torch.empty_like(out, dtype=torch.uint8)
        largest = np.ones(channels, working(x))
        kernels.pooled(maps(x), side, stride, largest, rectify, maps(out), maps(winners), 0, threads())
        context.save_for_backward(winners)
        context.shape, context.side, context.stride = tuple(x.shape), side, stride
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of x."""
        arriving = gradients[0].contiguous(memory_format=torch.channels_last)
        (winners,) = context.saved_tensors
        out = empty(context.shape, arriving.dtype)
        kernels.gradient_of_pooled(maps(arriving), maps(winners), context.side, context.stride, maps(out), threads())
        return out, None, None, None, None


class _Averaged(torch.autograd.Function):
    """`averaged`, by kernels."""

    @staticmethod
    def forward(context: Any, x: Tensor, mask: Tensor, kept: int) -> Tensor:
        """See `averaged`; `mask` is uint8, of the shape of x or empty, and values whose byte lies below `kept` stay."""
        context.save_for_backward(mask)
        context.like, context.kept = x, kept
        # Memory of torch's, since a matrix product may round in another way where its operands are aligned in another way.
        out = torch.empty(x.shape[:2], dtype=torch.promote_types(x.dtype, torch.float32))
        kernels.means(_pixels(x), _pixels(mask), kept, 256 / kept, out.numpy(), threads())
        return out.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of x."""
        (mask,) = context.saved_tensors
        kept, out = context.kept, empty(tuple(context.like.shape), context.like.dtype)
        arriving = gradients[0].contiguous().to(torch.promote_types(out.dtype, torch.float32)).numpy()
        kernels.gradient_of_means(arriving, _pixels(mask), kept, 256 / kept, _pixels(out), threads())
        return out, None, None


def _pixels(x: Tensor) -> Any:
    """[n, c, h, w] as [n, h · w, c], sharing memory."""
    array = maps(x)
    return array.reshape(array.shape[0], array.shape[1] * array.shape[2], array.shape[3])


def _windows(length: int, side: int, stride: int, ceil_mode: bool) -> int:
    """How many windows fit; with `ceil_mode` the last may reach beyond the edge, but begins before it."""
    if not ceil_mode:
        return (length - side) // stride + 1
    count = -(-(length - side) // stride) + 1
    return count - 1 if (count - 1) * stride >= length else count
