"""AlexNet (Krizhevsky et al., 2012), the network that SqueezeNet is measured against."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from squeezekit.networks.config import NetworkConfig, Share, Work
from squeezekit.networks.dropout import Dropout


class AlexNetConfig(NetworkConfig):
    """The grouped form of the Caffe reference, for 227 × 227 images: 60,965,224 parameters at 1,000 classes."""

    image_size: int = Field(227, ge=67, le=1024, description="side of an image in pixels")
    dropout: Share = Field(0.5, description="dropout before the first two fully connected layers")

    def work(self) -> Work:
        """See `NetworkConfig`."""
        return _work(self, (self.image_size - 11) // 4 + 1, stem=self.channels * 11**2, hidden=4096)

    def build(self) -> AlexNet:
        """The untrained network."""
        return AlexNet(self, nn.Conv2d(self.channels, 96, 11, stride=4), hidden=4096, dropout=self.dropout)


class AlexNetCifarConfig(NetworkConfig):
    """The same five convolutions for 32 × 32 images: a 5×5 stem of stride 1, and 1,024 hidden units for 4,096."""

    image_size: int = Field(32, ge=32, le=1024, description="side of an image in pixels")
    dropout: Share = Field(0.5, description="dropout before the first two fully connected layers")
    batch_norm: bool = Field(False, description="batch normalization of every hidden layer, for local response normalization")

    def work(self) -> Work:
        """See `NetworkConfig`."""
        return _work(self, self.image_size, stem=self.channels * 5**2, hidden=1024)

    def build(self) -> AlexNet:
        """The untrained network."""
        stem = nn.Conv2d(self.channels, 96, 5, padding=2)
        return AlexNet(self, stem, hidden=1024, dropout=self.dropout, batch_norm=self.batch_norm)


class AlexNet(nn.Module):
    """Five convolutions, three fully connected layers.

    Shapes: float [n, channels, image_size, image_size] -> logits [n, classes].
    """

    def __init__(self, config: NetworkConfig, stem: nn.Conv2d, *, hidden: int, dropout: float, batch_norm: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_rectified(stem, batch_norm, local=True),
            nn.MaxPool2d(3, stride=2),
            *_rectified(nn.Conv2d(96, 256, 5, padding=2, groups=2), batch_norm, local=True),
            nn.MaxPool2d(3, stride=2),
            *_rectified(nn.Conv2d(256, 384, 3, padding=1), batch_norm),
            *_rectified(nn.Conv2d(384, 384, 3, padding=1, groups=2), batch_norm),
            *_rectified(nn.Conv2d(384, 256, 3, padding=1, groups=2), batch_norm),
            nn.MaxPool2d(3, stride=2),
        )
        side = (config.image_size + 2 * int(stem.padding[0]) - stem.kernel_size[0]) // stem.stride[0] + 1
        for _pooling in range(3):
            side = (side - 3) // 2 + 1
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *_rectified(nn.Linear(256 * side * side, hidden), batch_norm),
            Dropout(dropout),
            *_rectified(nn.Linear(hidden, hidden), batch_norm),
            Dropout(dropout),
            nn.Linear(hidden, config.classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.normal_(torch.as_tensor(self.classifier[-1].weight), std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x))
        return logits


def _work(config: NetworkConfig, side: int, *, stem: int, hidden: int) -> Work:
    """What an AlexNet takes whose stem, with filters of so many weights, makes feature maps of such a side."""
    sides = [side]
    for _pooling in range(3):
        sides.append((sides[-1] - 3) // 2 + 1)
    convolutions = [96 * stem, 256 * 48 * 25, 384 * 256 * 9 + 384 * 192 * 9 + 256 * 192 * 9]
    linear = hidden * (256 * sides[3] ** 2 + hidden + config.classes)
    macs = sum(weights * side**2 for weights, side in zip(convolutions, sides, strict=False)) + linear
    values = max(config.channels * config.image_size**2 + 96 * side**2, 2 * 96 * side**2, (96 + 256) * sides[1] ** 2)
    return Work(sum(convolutions) + linear, values, macs)


def _rectified(layer: nn.Conv2d | nn.Linear, batch_norm: bool, *, local: bool = False) -> list[nn.Module]:
    """A layer, ReLU and either batch normalization or, where AlexNet has it, the local one of section 3.3."""
    if not batch_norm:
        return [layer, nn.ReLU(inplace=True), *([nn.LocalResponseNorm(5)] if local else [])]
    if isinstance(layer, nn.Linear):
        return [layer, nn.BatchNorm1d(layer.out_features), nn.ReLU(inplace=True)]
    return [layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU(inplace=True)]
