"""One pass over a finished network that makes it train faster on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from squeezekit.acceleration.activation import FusedTanhExp
from squeezekit.acceleration.channel_norm import FusedChannelNorm
from squeezekit.acceleration.dispatch import threads_can_be_shared, use_kernels
from squeezekit.acceleration.fused_layers import FusedBlock, FusedFire, FusedHead, FusedSequential, PaddedStem
from squeezekit.acceleration.fused_ops import FusedBatchNorm
from squeezekit.acceleration.grouped_convolution import Blur, Depthwise, Grouped
from squeezekit.acceleration.kernel_cache import compile_in_background, kernels_ready, kernels_wanted
from squeezekit.acceleration.pooling import MaxPool
from squeezekit.networks.channel_norm import ChannelNorm
from squeezekit.networks.fire import Fire
from squeezekit.networks.resnet import BasicBlock
from squeezekit.networks.squeezenet import Head
from squeezekit.networks.xvel_tiniest import FloatConv2d, TanhExp

__all__ = ["accelerate", "compile_in_background", "kernels_ready", "kernels_usable"]


def _always(_module: Any) -> bool:
    return True


# A layer's class, the class that computes the same faster, and which layers that serves: the first that serves is taken. Layers
# of subclasses compute something else, and stay as they are.
FORMS: list[tuple[type[nn.Module], type[nn.Module], Callable[[Any], bool]]] = [
    (Fire, FusedFire, _always),
    (Head, FusedHead, _always),
    (BasicBlock, FusedBlock, _always),
    (nn.Sequential, FusedSequential, FusedSequential.serves),
    (nn.BatchNorm2d, FusedBatchNorm, FusedBatchNorm.serves),
    (nn.MaxPool2d, MaxPool, MaxPool.serves),
    (nn.AvgPool2d, Blur, Blur.serves),
    (ChannelNorm, FusedChannelNorm, _always),
    (TanhExp, FusedTanhExp, _always),
    (FloatConv2d, Grouped, Grouped.serves),
    (nn.Conv2d, Depthwise, Depthwise.serves),
    (nn.Conv2d, Grouped, Grouped.serves),
    (nn.Conv2d, PaddedStem, PaddedStem.serves),
]


def kernels_usable() -> bool:
    """Whether kernels may compute here: SQUEEZEKIT_KERNELS is not 0, and numba shares torch's threads."""
    return kernels_wanted() and threads_can_be_shared()


def accelerate(network: nn.Module, *, kernels: bool) -> nn.Module:
    """`network`, in place, its layers computed faster in training; parameters, names and results (up to rounding) stay.

    With `kernels`, compiled kernels compute on a CPU from now on, in all accelerated networks of this process; without, torch's
    own operations do. Several processes that train one network must be given the same. Calling it again is harmless.
    """
    use_kernels(kernels and kernels_usable())
    for module in network.modules():
        for plain, faster, serves in FORMS:
            if type(module) is plain and serves(module):
                module.__class__ = faster
                break
    return network
