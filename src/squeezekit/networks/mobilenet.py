"""MobileNetV2 (Sandler et al., 2018, table 2) at half width, for small images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn

from squeezekit.acceleration.dispatch import fit
from squeezekit.acceleration.fused_ops import FusedBatchNorm, normalised_and_clipped
from squeezekit.acceleration.grouped_convolution import Depthwise
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.dropout import Dropout
from squeezekit.networks.named_layers import NamedLayer, NamedLayers, norm_or_none

# Expansion, channels at full width, blocks, stride of the first: the paper's table with the first two strides at 1,
# as is usual for 32 × 32.
STAGES = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
WIDTH = 0.5


class MobileNetV2Config(NetworkConfig):
    """Half of the channels in every stage, the 1,280 of the last convolution kept, as the paper has it."""

    batch_norm: bool = Field(True, description="batch normalization after every convolution")

    def build(self) -> MobileNetV2:
        """The untrained network."""
        return MobileNetV2(self)


class MobileNetV2(NamedLayers):
    """Inverted residuals: float [n, channels, h, w] -> logits [n, classes]."""

    def __init__(self, config: MobileNetV2Config) -> None:
        super().__init__()
        self.config, norm = config, config.batch_norm
        width = _width(32)
        layers: list[nn.Module] = [Activated(nn.Conv2d(config.channels, width, 3, padding=1, bias=not norm), batch_norm=norm)]
        for expansion, channels, blocks, stride in STAGES:
            for block in range(blocks):
                layers.append(InvertedResidual(width, _width(channels), expansion, stride if block == 0 else 1, batch_norm=norm))
                width = _width(channels)
        self.features = nn.Sequential(*layers, _pointwise(width, 1280, batch_norm=norm))
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

    def places(self) -> Iterator[NamedLayer]:
        """See `NamedLayers`."""
        # Batch normalization always stands right behind its convolution.
        modules = [each for each in self.named_modules() if not list(each[1].children())]
        for (name, layer), (_, following) in pairwise([*modules, ("", None)]):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                yield NamedLayer(name, layer, norm_or_none(following))


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise 3×3, project 1×1; the input is added where shapes allow."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int, *, batch_norm: bool) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.layers = nn.Sequential(
            *([_pointwise(in_channels, hidden, batch_norm=batch_norm)] if expansion > 1 else []),
            Activated(Depthwise(hidden, 3, stride, bias=not batch_norm), batch_norm=batch_norm),
            nn.Conv2d(hidden, out_channels, 1, bias=not batch_norm),
            FusedBatchNorm(out_channels) if batch_norm else nn.Identity(),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out + x if self.residual else out


class Activated(nn.Sequential):
    """A convolution, normalized and cut off at 0 and 6: [n, i, h, w] -> [n, o, h', w']."""

    def __init__(self, convolution: nn.Conv2d, *, batch_norm: bool) -> None:
        norm = FusedBatchNorm(convolution.out_channels) if batch_norm else nn.Identity()
        super().__init__(convolution, norm, nn.ReLU6(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        convolution, norm, cut = self
        x = convolution(x)
        if isinstance(norm, FusedBatchNorm) and fit(x):
            return normalised_and_clipped(x, norm, 6)
        out: Tensor = cut(norm(x))
        return out


def _pointwise(in_channels: int, out_channels: int, *, batch_norm: bool) -> Activated:
    return Activated(nn.Conv2d(in_channels, out_channels, 1, bias=not batch_norm), batch_norm=batch_norm)


def _width(channels: int) -> int:
    # Multiples of 8, never more than a tenth below the exact width: the rule of the paper's own code.
    exact = channels * WIDTH
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded
