"""Max-pooling, and the average over all pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from squeezekit.acceleration.dispatch import empty, fit, kernels, pixels, threads, working
from squeezekit.networks.dropout import Dropout

# A winner's place in its window is one byte, of which one value stands for none.
MOST_SIDE = 15


class MaxPool(nn.MaxPool2d):
    """Max-pooling without padding: [n, c, h, w] -> [n, c, h', w']."""

    kernel_size: int
    stride: int

    @staticmethod
    def serves(pool: nn.MaxPool2d) -> bool:
        """Whether `pool` can be one: square windows that leave no gaps, no padding, no indices asked for."""
        side, stride = pool.kernel_size, pool.stride
        plain = (pool.padding, pool.dilation, pool.return_indices) == (0, 1, False)
        return plain and isinstance(side, int) and isinstance(stride, int) and stride <= side <= MOST_SIDE

    def forward(self, x: Tensor) -> Tensor:
        return self._pooled(x) if fit(x) else super().forward(x)

    def rectified(self, x: Tensor) -> Tensor:
        """ReLU, then pooling: computed the other way round, on a quarter of the values or fewer."""
        return self._pooled(x, rectify=True) if fit(x) else F.relu(super().forward(x), inplace=True)

    def _pooled(self, x: Tensor, *, rectify: bool = False) -> Tensor:
        out: Tensor = _Pooled.apply(x, self.kernel_size, self.stride, self.ceil_mode, rectify)  # type: ignore[no-untyped-call]
        return out


def averaged(x: Tensor, dropout: nn.Module) -> Tensor:
    """The mean over all pixels of what `dropout` leaves: [n, c, h, w] -> [n, c]."""
    if not (isinstance(dropout, Dropout) and fit(x)):
        mean: Tensor = dropout(x).mean((2, 3))
        return mean
    mask, kept = dropout.mask(x)
    out: Tensor = _Averaged.apply(x, mask, kept)  # type: ignore[no-untyped-call]
    return out


class _Pooled(torch.autograd.Function):
    """`MaxPool`, by kernels()."""

    @staticmethod
    def forward(context: Any, x: Tensor, side: int, stride: int, ceil_mode: bool, rectify: bool) -> Tensor:
        """See `MaxPool`."""
        n, channels, *lengths = x.shape
        out = empty((n, channels, *(_windows(length, side, stride, ceil_mode) for length in lengths)), x.dtype)
        winners = torch.empty_like(out, dtype=torch.uint8)
        largest = np.ones(channels, working(x))
        kernels().pooled(pixels(x), side, stride, largest, rectify, pixels(out), pixels(winners), 0, threads())
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
        kernels().gradient_of_pooled(pixels(arriving), pixels(winners), context.side, context.stride, pixels(out), threads())
        return out, None, None, None, None


class _Averaged(torch.autograd.Function):
    """`averaged`, by kernels()."""

    @staticmethod
    def forward(context: Any, x: Tensor, mask: Tensor, kept: int) -> Tensor:
        """See `averaged`; `mask` is uint8, of the shape of x or empty, and values whose byte lies below `kept` stay."""
        context.save_for_backward(mask)
        context.like, context.kept = x, kept
        # Memory of torch's, since a matrix product may round in another way where its operands are aligned in another way.
        out = torch.empty(x.shape[:2], dtype=torch.promote_types(x.dtype, torch.float32))
        kernels().means(_positions(x), _positions(mask), kept, 256 / kept, out.numpy(), threads())
        return out.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of x."""
        (mask,) = context.saved_tensors
        kept, out = context.kept, empty(tuple(context.like.shape), context.like.dtype)
        arriving = gradients[0].contiguous().to(torch.promote_types(out.dtype, torch.float32)).numpy()
        kernels().gradient_of_means(arriving, _positions(mask), kept, 256 / kept, _positions(out), threads())
        return out, None, None


def _positions(x: Tensor) -> Any:
    """[n, c, h, w] as [n, h · w, c], sharing memory."""
    array = pixels(x)
    return array.reshape(array.shape[0], array.shape[1] * array.shape[2], array.shape[3])


def _windows(length: int, side: int, stride: int, ceil_mode: bool) -> int:
    """How many windows fit; with `ceil_mode` the last may reach beyond the edge, but begins before it."""
    if not ceil_mode:
        return (length - side) // stride + 1
    count = -(-(length - side) // stride) + 1
    return count - 1 if (count - 1) * stride >= length else count
