"""MobileNetV2 (Sandler et al., 2018, table 2) at half width, for small images."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from squeezekit.networks.config import NetworkConfig, Work
from squeezekit.networks.dropout import Dropout

# Expansion, channels at full width, blocks, stride of the first: the paper's table with the first two strides at 1,
# as is usual for 32 × 32.
STAGES = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
WIDTH = 0.5


class MobileNetV2Config(NetworkConfig):
    """Half of the channels in every stage, the 1,280 of the last convolution kept, as the paper has it."""

    batch_norm: bool = Field(True, description="batch normalization after every convolution")

    def work(self) -> Work:
        """Of the layers for each pixel of an image, and of the last one."""
        return Work.by_pixels(self, macs=27_400 + 16 * 9 * self.channels, values=208, layers=700_000, last=1280)

    def build(self) -> MobileNetV2:
        """The untrained network."""
        return MobileNetV2(self)


class MobileNetV2(nn.Module):
    """Inverted residuals: float [n, channels, h, w] -> logits [n, classes]."""

    def __init__(self, config: MobileNetV2Config) -> None:
        super().__init__()
        self.config = config
        norm, width = config.batch_norm, _width(32)
        layers: list[nn.Module] = [_convolution(config.channels, width, 3, batch_norm=norm)]
        for expansion, channels, blocks, stride in STAGES:
            for block in range(blocks):
                layers.append(InvertedResidual(width, _width(channels), expansion, stride if block == 0 else 1, batch_norm=norm))
                width = _width(channels)
        self.features = nn.Sequential(*layers, _convolution(width, 1280, 1, batch_norm=norm))
        self.dropout = Dropout(0.2)
        self.classifier = nn.Linear(1280, config.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.features(x).mean((2, 3))))
        return logits


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise 3×3, project 1×1 (section 3.3): [n, i, h, w] -> [n, o, h', w'].

    The input is added where shapes allow.
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int, *, batch_norm: bool) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.layers = nn.Sequential(
            *([_convolution(in_channels, hidden, 1, batch_norm=batch_norm)] if expansion > 1 else []),
            _convolution(hidden, hidden, 3, stride, groups=hidden, batch_norm=batch_norm),
            nn.Conv2d(hidden, out_channels, 1, bias=not batch_norm),
            nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity(),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out + x if self.residual else out


def _convolution(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, groups: int = 1, batch_norm: bool
) -> nn.Sequential:
    """A convolution, normalized and cut off at 0 and 6: [n, i, h, w] -> [n, o, h', w']."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=not batch_norm),
        nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity(),
        nn.ReLU6(inplace=True),
    )


def _width(channels: int) -> int:
    # Multiples of 8, never more than a tenth below the exact width: the rule of the paper's own code.
    exact = channels * WIDTH
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded
