"""xvel's cifar10-tiniest, the best published accuracy for its size that we know: 97,530 parameters for 32 × 32 in colour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from squeezekit.acceleration.channel_norm import ChannelNorm
from squeezekit.acceleration.grouped_convolution import Depthwise, Grouped, half_on_cpu
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.named_layers import NamedLayer, NamedLayers

NARROW, WIDE, BLOCKS = 48, 80, 3


class TiniestConfig(NetworkConfig):
    """Two stages of three blocks, 48 and 80 channels; mixing in space is depthwise, in channels gated."""

    def build(self) -> Tiniest:
        """The untrained network."""
        return Tiniest(self)


class Tiniest(NamedLayers):
    """Stem, blocks, halving, blocks, average, linear: float [n, channels, h, w] -> logits [n, classes]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.features = nn.Sequential(
            nn.Conv2d(config.channels, NARROW, 3, padding=1),
            ChannelNorm(NARROW),
            *(Block(NARROW) for _ in range(BLOCKS)),
            Grouped(NARROW, WIDE, 4, 2, padding=1, groups=16),
            ChannelNorm(WIDE),
            *(Block(WIDE) for _ in range(BLOCKS)),
        )
        self.classifier = nn.Linear(WIDE, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits

    def places(self) -> Iterator[NamedLayer]:
        """See `NamedLayers`."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                yield NamedLayer(name, module)


class Blur(nn.AvgPool2d):
    """The mean of each pixel's 3 × 3 neighbours, 0 beyond the edges: [n, c, h, w] -> [n, c, h, w]."""

    def __init__(self) -> None:
        super().__init__(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if not half_on_cpu(x):
            return super().forward(x)
        ninth = torch.eye(x.shape[1], dtype=x.dtype)[:, :, None, None].expand(-1, -1, 3, 3) / 9
        return F.conv2d(x, ninth, padding=1)


class Block(nn.Module):
    """Four quarters of the channels see more and more of the map; then channels mix, one half gating the other.

    Shapes: [n, c, h, w] -> [n, c, h, w].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        part = channels // 4
        self.near = Depthwise(part, 3)
        self.middle = Depthwise(part, 7)
        self.far = nn.Sequential(Blur(), Grouped(part, part, 7, padding=9, dilation=3, groups=part))
        self.norm = ChannelNorm(channels)
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.gate = TanhExp()
        self.mix = nn.Conv2d(channels, channels, 1)
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        kept, near, middle, far = x.chunk(4, 1)
        seen = torch.cat([kept, self.near(near), self.middle(middle), self.far(far)], 1)
        values, gates = self.widen(self.norm(seen)).chunk(2, 1)
        out: Tensor = x * self.scale.to(x.dtype).view(-1, 1, 1) + self.mix(values * self.gate(gates))
        return out


class TanhExp(nn.Module):
    """The activation x · tanh(eˣ) (Liu and Di, 2020, arXiv 2003.09855), in float32 also beside bf16: any shape."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _TanhExp.apply(x)  # type: ignore[no-untyped-call]
        return out


class _TanhExp(torch.autograd.Function):
    """Keeps the input alone: the rest is cheaper to compute again than to read again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        wide = _wide(x)
        # e¹² is enough for any tanh.
        return wide.clamp(max=12).exp_().tanh_().mul_(wide).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        wide = _wide(x)
        power = wide.clamp(max=12).exp_()
        tanh = power.tanh()
        # tanh(eˣ) + x · eˣ · (1 − tanh²(eˣ))
        slope = power.mul_(wide).addcmul_(power * tanh, tanh, value=-1).add_(tanh)
        return slope.mul_(gradient).to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
