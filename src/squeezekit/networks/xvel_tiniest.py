"""xvel's cifar10-tiniest, the best published accuracy for its size that we know: 97,530 parameters for 32 × 32 in colour."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from squeezekit.networks.channel_norm import ChannelNorm
from squeezekit.networks.config import NetworkConfig, Work

NARROW, WIDE, BLOCKS = 48, 80, 3


class TiniestConfig(NetworkConfig):
    """Two stages of three blocks, 48 and 80 channels; mixing in space is depthwise, in channels gated."""

    def work(self) -> Work:
        """Of the layers for each pixel of an image, and of the last one."""
        return Work.by_pixels(self, macs=42_900 + 48 * 9 * self.channels, values=192, layers=98_000, last=WIDE)

    def build(self) -> Tiniest:
        """The untrained network."""
        return Tiniest(self)


class Tiniest(nn.Module):
    """Stem, blocks, halving, blocks, average, linear: float [n, channels, h, w] -> logits [n, classes]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.features = nn.Sequential(
            nn.Conv2d(config.channels, NARROW, 3, padding=1),
            ChannelNorm(NARROW),
            *(TiniestBlock(NARROW) for _ in range(BLOCKS)),
            nn.Conv2d(NARROW, WIDE, 4, 2, padding=1, groups=16),
            ChannelNorm(WIDE),
            *(TiniestBlock(WIDE) for _ in range(BLOCKS)),
        )
        self.classifier = nn.Linear(WIDE, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


class TiniestBlock(nn.Module):
    """Four quarters of the channels see more and more of the image; then channels mix, one half gating the other.

    Shapes: [n, c, h, w] -> [n, c, h, w].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        part = channels // 4
        self.near = nn.Conv2d(part, part, 3, padding=1, groups=part)
        self.middle = nn.Conv2d(part, part, 7, padding=3, groups=part)
        blur = nn.AvgPool2d(3, stride=1, padding=1)
        self.far = nn.Sequential(blur, FloatConv2d(part, part, 7, padding=9, dilation=3, groups=part))
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


class FloatConv2d(nn.Conv2d):
    """A convolution in the type of its weights also beside bf16: [n, i, h, w] -> [n, o, h', w'].

    torch 2.13 computes the gradient of dilated depthwise filters wrongly in bf16 on CPUs with instructions for it.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class TanhExp(nn.Module):
    """The activation x · tanh(eˣ) (Liu and Di, 2020, arXiv 2003.09855), in float32 also beside bf16: any shape."""

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        # e¹² is enough for any tanh.
        return (wide * wide.clamp(max=12).exp().tanh()).to(x.dtype)
