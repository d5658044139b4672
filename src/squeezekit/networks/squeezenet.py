"""The SqueezeNet family from its metaparameters (Iandola et al., 2016, sections 3 to 6)."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from squeezekit.networks.config import NetworkConfig, Share, Work
from squeezekit.networks.dropout import Dropout
from squeezekit.networks.fire import Bypass, Fire

# A rectified normal value has second moment 1/2 and variance (1 - 1/π)/2.
CENTRED_GAIN = math.sqrt(1 / (1 - 1 / math.pi))


class SqueezeNetConfig(NetworkConfig):
    """Every number that a SqueezeNet is built from. The defaults are the network `squeezenet-cifar`."""

    base_e: int = Field(128, ge=2, le=4096, description="filters in the expand layer of the first Fire modules")
    incr_e: int = Field(128, ge=0, le=4096, description="filters by which the expand layer grows, every FREQ modules")
    freq: int = Field(2, ge=1, le=1000, description="Fire modules between two growths of the expand layer")
    start: int = Field(
        1, ge=0, le=1000, description="modules of the progression left out at its beginning (1: one narrow module)"
    )
    depth: int = Field(7, ge=1, le=64, description="number of Fire modules")
    squeeze_ratio: float = Field(0.125, gt=0, le=1, description="squeeze filters ÷ expand filters (1×1 and 3×3)")
    share_3x3: float = Field(0.5, gt=0, lt=1, description="share of 3×3 filters in the expand layer")
    bypass: Literal["none", "simple", "complex"] = Field("none", description="add the input of Fire modules to their output")
    batch_norm: bool = Field(False, description="batch normalization after every convolution but the last")
    stem_width: int = Field(96, ge=1, le=4096, description="filters of the first convolution")
    stem_kernel: Literal[3, 5, 7] = Field(3, description="side of the first convolution's filters")
    stem_stride: int = Field(1, ge=1, le=4, description="stride of the first convolution (1: “same” padding; more: none)")
    pool_before: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 2), description="Fire modules (from 1) that a max-pooling stands before"
    )
    pool_size: Literal[2, 3] = Field(2, description="side of the max-pooling, of stride 2")
    dropout: Share = Field(0.5, description="dropout before the last convolution")
    head_relu: bool = Field(False, description="ReLU after the last convolution, as in v1.0 and v1.1")
    mirrored: bool = Field(False, description="classify by the average of an image and its mirror image, at twice the work")

    @model_validator(mode="after")
    def _pools_stand_before_modules(self) -> Self:
        if tuple(sorted(set(self.pool_before))) != self.pool_before or max(self.pool_before, default=1) > self.depth:
            raise ValueError(f"pool_before must rise and name modules from 1 to depth, {self.depth}")
        return self

    @model_validator(mode="after")
    def _images_are_large_enough(self) -> Self:
        if self._sides()[-1] < 1:
            raise ValueError(
                f"image_size {self.image_size} is too small for {len(self.pool_before)} poolings; choose a larger one"
            )
        return self

    def _sides(self) -> list[int]:
        """Sides of feature maps: after the stem, and after each pooling."""
        padding = self.stem_kernel // 2 if self.stem_stride == 1 else 0
        sides = [(self.image_size + 2 * padding - self.stem_kernel) // self.stem_stride + 1]
        for _pool in self.pool_before:
            sides.append(-(-(sides[-1] - self.pool_size) // 2) + 1)
        return sides

    def work(self) -> Work:
        """What the network takes, without bypasses and biases."""
        sides, channels = self._sides(), self.stem_width
        # Filters, weights of each, and the side of the outputs.
        layers = [(self.stem_width, self.channels * self.stem_kernel**2, sides[0])]
        values = [self.channels * self.image_size**2 + self.stem_width * sides[0] ** 2]
        for number, (squeeze, expand1x1, expand3x3) in enumerate(self.fire_widths(), start=1):
            side = sides[sum(place <= number for place in self.pool_before)]
            layers += [(squeeze, channels, side), (expand1x1 + 9 * expand3x3, squeeze, side)]
            # A bypass keeps the input of a module until its output is there.
            values.append((channels + squeeze + expand1x1 + expand3x3) * side**2)
            channels = expand1x1 + expand3x3
        layers.append((self.classes, channels, sides[-1] if self.head_relu else 1))
        values.append(self.classes * layers[-1][-1] ** 2)
        macs = sum(filters * weights * side**2 for filters, weights, side in layers)
        return Work(sum(filters * weights for filters, weights, _side in layers), max(values), macs * (1 + self.mirrored))

    def fire_widths(self) -> list[tuple[int, int, int]]:
        """(squeeze, expand 1×1, expand 3×3) of each Fire module (section 5.1).

        Module i (from 0) expands to `base_e + incr_e · ⌊(start + i) ÷ freq⌋` filters. Fractions are rounded to
        the nearest, halves up; every layer keeps at least one filter.
        """
        widths = []
        for i in range(self.start, self.start + self.depth):
            expand = self.base_e + self.incr_e * (i // self.freq)
            expand3x3 = min(max(_nearest(self.share_3x3 * expand), 1), expand - 1)
            widths.append((max(_nearest(self.squeeze_ratio * expand), 1), expand - expand3x3, expand3x3))
        return widths

    def build(self) -> SqueezeNet:
        """The untrained network; its weights are drawn from torch's global generator."""
        return SqueezeNet(self)


class SqueezeNet(nn.Module):
    """Stem, Fire modules with max-pooling between them, dropout, 1×1 convolution to the classes, average.

    Shapes: float [n, channels, image_size, image_size], normalized -> logits [n, classes]. Parameter names and
    shapes of v1.0 and v1.1 are those of torchvision. `mirrored` works in evaluation mode only (Krizhevsky et al., 2012,
    section 4.1, average over reflections).
    """

    def __init__(self, config: SqueezeNetConfig) -> None:
        super().__init__()
        self.config = config
        self.features = _features(config)
        last = [layer for layer in self.features if isinstance(layer, Fire)][-1]
        self.classifier = Head(last.out_channels, config.classes, dropout=config.dropout, relu=config.head_relu)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits_of_one_side(x)
        if self.config.mirrored and not self.training:
            logits = (logits + self.logits_of_one_side(x.flip(3))) / 2
        return logits

    def logits_of_one_side(self, x: Tensor) -> Tensor:
        """Logits [n, classes] of the images alone, without their mirror images."""
        logits: Tensor = self.classifier(self.features(x))
        return logits


class Head(nn.Sequential):
    """Dropout, 1×1 convolution to the classes, ReLU or not, global average: [n, c, h, w] -> [n, classes].

    Without the ReLU, average and convolution are both linear and change places: the convolution then sees one
    pixel instead of h·w.
    """

    def __init__(self, in_channels: int, classes: int, *, dropout: float, relu: bool) -> None:
        super().__init__(Dropout(dropout), nn.Conv2d(in_channels, classes, 1))
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        dropout, convolution = self
        if self.relu:
            return F.relu(convolution(dropout(x))).mean((2, 3))
        logits: Tensor = convolution(dropout(x).mean((2, 3), keepdim=True))
        return logits.flatten(1)


def _features(config: SqueezeNetConfig) -> nn.Sequential:
    # Numbers in names are torchvision's: the stem is 0, its ReLU 1, then one for each pooling and Fire module.
    kernel, stride = config.stem_kernel, config.stem_stride
    padding = kernel // 2 if stride == 1 else 0
    layers = OrderedDict[str, nn.Module]()
    layers["0"] = nn.Conv2d(config.channels, config.stem_width, kernel, stride, padding, bias=not config.batch_norm)
    if config.batch_norm:
        layers["norm"] = nn.BatchNorm2d(config.stem_width)
    layers["1"] = nn.ReLU(inplace=True)
    index, channels = 2, config.stem_width
    for i, widths in enumerate(config.fire_widths(), start=1):
        if i in config.pool_before:
            layers[str(index)] = nn.MaxPool2d(config.pool_size, stride=2, ceil_mode=True)
            index += 1
        fire = _fire(config, channels, widths)
        layers[str(index)] = fire
        index, channels = index + 1, fire.out_channels
    return nn.Sequential(layers)


def _fire(config: SqueezeNetConfig, channels: int, widths: tuple[int, int, int]) -> Fire:
    bypass = _bypass(config, channels, widths[1] + widths[2])
    return Fire(channels, *widths, batch_norm=config.batch_norm, bypass=bypass)


def _bypass(config: SqueezeNetConfig, in_channels: int, out_channels: int) -> Bypass:
    if config.bypass == "none":
        return "none"
    if in_channels == out_channels:
        return "identity"
    return "convolution" if config.bypass == "complex" else "none"


def _initialize(network: SqueezeNet) -> None:
    """He-normal filters, zero biases; a last layer so small that the untrained loss is ln(classes).

    Glorot-uniform filters without batch normalization leave the loss at ln(classes) for ever, and He-normal ones do
    from some seeds: inputs are never negative, so what all images share drowns what tells them apart, and
    Adam's first steps switch whole squeeze layers off. Filters of mean zero cancel that share; the gain makes up for
    what it carried (Brock et al., 2021, arXiv 2101.08692, section 4, here at the start only). Batch normalization
    takes the share away by itself, and small networks then learn worse from centred filters.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            # Nothing rectifies a bypass.
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if "bypass" in name else "relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if not network.config.batch_norm:
                with torch.no_grad():
                    module.weight -= module.weight.mean((1, 2, 3), keepdim=True)
                    module.weight *= CENTRED_GAIN
    nn.init.normal_(torch.as_tensor(network.classifier[1].weight), std=0.01)


def _nearest(x: float) -> int:
    return math.floor(x + 0.5)
