"""Residual baselines for small images."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from squeezekit.networks.config import NetworkConfig, Work


class ResNetConfig(NetworkConfig):
    """What both have in common."""

    batch_norm: bool = Field(True, description="batch normalization after every convolution but shortcuts")

    def work(self) -> Work:
        """At most what ResNet-20 takes: of its layers for each pixel of an image, and of the last one."""
        return Work.by_pixels(self, macs=39_600 + 16 * 9 * self.channels, values=48, layers=270_000, last=64)


class ResNet8Config(ResNetConfig):
    """MLPerf Tiny's ResNet-8: three stages of one block, 16, 32 and 64 channels, 1×1 convolutions as shortcuts."""

    def build(self) -> ResNet:
        """The untrained network."""
        return ResNet(self, blocks=1, projection=True)


class ResNet20Config(ResNetConfig):
    """ResNet-20 (He et al., 2016, section 4.2): three stages of three blocks, shortcuts padded with zeros."""

    def build(self) -> ResNet:
        """The untrained network."""
        return ResNet(self, blocks=3, projection=False)


class ResNet(nn.Module):
    """3×3 stem, three stages, average, linear: float [n, channels, h, w] -> logits [n, classes]."""

    def __init__(self, config: ResNetConfig, *, blocks: int, projection: bool) -> None:
        super().__init__()
        norm = config.batch_norm
        self.config = config
        self.stem = nn.Conv2d(config.channels, 16, 3, padding=1, bias=not norm)
        self.norm = nn.BatchNorm2d(16) if norm else nn.Identity()
        widths = [16, *(width for width in (16, 32, 64) for _ in range(blocks))]
        blocks_of = (BasicBlock(before, width, projection=projection, batch_norm=norm) for before, width in pairwise(widths))
        self.blocks = nn.Sequential(*blocks_of)
        self.classifier = nn.Linear(64, config.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        logits: Tensor = self.classifier(self.blocks(x).mean((2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; more channels mean stride 2: [n, i, h, w] -> [n, o, h', w']."""

    def __init__(self, in_channels: int, out_channels: int, *, projection: bool, batch_norm: bool) -> None:
        super().__init__()
        self.stride = 1 if in_channels == out_channels else 2
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, self.stride, padding=1, bias=not batch_norm)
        self.norm1 = nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=not batch_norm)
        self.norm2 = nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity()
        self.added = out_channels - in_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, self.stride) if projection and self.added else None

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)), inplace=True)
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.skipped(x))

    def skipped(self, x: Tensor) -> Tensor:
        """What the shortcut makes of the block's input: [n, i, h, w] -> [n, o, h', w']."""
        if self.shortcut is not None:
            projected: Tensor = self.shortcut(x)
            return projected
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.added)) if self.added else x
