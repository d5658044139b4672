"""ShuffleNetV2 (Ma et al., 2018, arXiv 1807.11164, table 5) at half width, for small images."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from squeezekit.networks.config import NetworkConfig, Work

# Channels and blocks of the stages, each of which halves the side; those of the first and of the last convolution.
STAGES = [(48, 4), (96, 8), (192, 4)]
FIRST, LAST = 24, 1024


class ShuffleNetV2Config(NetworkConfig):
    """The paper's at 0.5×, with a first convolution of stride 1 and no max-pooling, as is usual for 32 × 32."""

    batch_norm: bool = Field(True, description="batch normalization after every convolution")

    def work(self) -> Work:
        """Of the layers for each pixel of an image, and of the last one."""
        return Work.by_pixels(self, macs=10_000 + FIRST * 9 * self.channels, values=48, layers=342_000, last=LAST)

    def build(self) -> ShuffleNetV2:
        """The untrained network."""
        return ShuffleNetV2(self)


class ShuffleNetV2(nn.Module):
    """3×3 stem, three stages, 1×1 convolution, average, linear: float [n, channels, h, w] -> logits [n, classes]."""

    def __init__(self, config: ShuffleNetV2Config) -> None:
        super().__init__()
        self.config = config
        norm, width = config.batch_norm, FIRST
        layers: list[nn.Module] = [_convolution(config.channels, width, 3, batch_norm=norm)]
        for channels, blocks in STAGES:
            layers += [DownUnit(width, channels, batch_norm=norm)]
            layers += [BasicUnit(channels, batch_norm=norm) for _ in range(blocks - 1)]
            width = channels
        self.features = nn.Sequential(*layers, _convolution(width, LAST, 1, batch_norm=norm))
        self.classifier = nn.Linear(LAST, config.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


class BasicUnit(nn.Module):
    """One half of the channels passes, the other is convolved (figure 3c): [n, c, h, w] -> [n, c, h, w]."""

    def __init__(self, channels: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.branch = _branch(channels // 2, channels // 2, 1, batch_norm=batch_norm)
        self.shuffle = ChannelShuffle()

    def forward(self, x: Tensor) -> Tensor:
        passed, convolved = x.chunk(2, 1)
        out: Tensor = self.shuffle(torch.cat([passed, self.branch(convolved)], 1))
        return out


class DownUnit(nn.Module):
    """Both branches see all channels and halve the side (figure 3d): [n, i, h, w] -> [n, o, ⌈h/2⌉, ⌈w/2⌉]."""

    def __init__(self, in_channels: int, out_channels: int, *, batch_norm: bool) -> None:
        super().__init__()
        half = out_channels // 2
        self.shortcut = nn.Sequential(
            *_depthwise(in_channels, 2, batch_norm=batch_norm), _convolution(in_channels, half, 1, batch_norm=batch_norm)
        )
        self.branch = _branch(in_channels, half, 2, batch_norm=batch_norm)
        self.shuffle = ChannelShuffle()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shuffle(torch.cat([self.shortcut(x), self.branch(x)], 1))
        return out


class ChannelShuffle(nn.Module):
    """The channels of two halves take turns: [n, c, h, w] -> [n, c, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        # With channels last, as training has them, so that convolutions need not reorder what comes out.
        images, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(images, height, width, 2, channels // 2)
        return pixels.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)


def _branch(in_channels: int, out_channels: int, stride: int, *, batch_norm: bool) -> nn.Sequential:
    """1×1, depthwise 3×3, 1×1: [n, i, h, w] -> [n, o, h', w']."""
    return nn.Sequential(
        _convolution(in_channels, out_channels, 1, batch_norm=batch_norm),
        *_depthwise(out_channels, stride, batch_norm=batch_norm),
        _convolution(out_channels, out_channels, 1, batch_norm=batch_norm),
    )


def _depthwise(channels: int, stride: int, *, batch_norm: bool) -> list[nn.Module]:
    """A 3×3 convolution of each channel, normalized and not rectified."""
    convolution = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=not batch_norm)
    return [convolution, nn.BatchNorm2d(channels) if batch_norm else nn.Identity()]


def _convolution(in_channels: int, out_channels: int, kernel: int, *, batch_norm: bool) -> nn.Sequential:
    """A convolution, normalized and rectified: [n, i, h, w] -> [n, o, h', w']."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=not batch_norm),
        nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity(),
        nn.ReLU(inplace=True),
    )
