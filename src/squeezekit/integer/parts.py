"""What a network that can be computed in integers consists of.

Nothing here needs PyTorch or NumPy: a device reads files by it, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..system.errors import SqueezekitError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ConvolutionLayer:
    """`name` is that of its weights, without `.weight`; shape: [filters, in channels, kernel, kernel]."""

    name: str
    shape: Shape
    stride: int = 1
    padding: int = 0
    depthwise: bool = False

    @property
    def filters(self) -> int:
        """Channels that it makes."""
        return self.shape[0]

    @property
    def kernel(self) -> int:
        """Side of the filters."""
        return self.shape[2]


@dataclass(frozen=True)
class PoolingLayer:
    """Max-pooling of stride 2 with windows of `size` × `size`, cut off at the edges."""

    size: int


@dataclass(frozen=True)
class FireLayers:
    """A Fire module: what is squeezed, then the branches of the expand layer beside each other.

    The input is added as it is with `identity`, or through the convolution `bypass`.
    """

    squeeze: ConvolutionLayer
    branches: tuple[ConvolutionLayer, ...]
    bypass: ConvolutionLayer | None
    identity: bool


@dataclass(frozen=True)
class BlockLayers:
    """A block of a network of stages: convolutions with ReLU, then `last`, with ReLU where it is `rectified`.

    With `residual`, the block's input is added.
    """

    convolutions: tuple[ConvolutionLayer, ...]
    last: ConvolutionLayer
    residual: bool
    rectified: bool


@dataclass(frozen=True)
class GraphLayers:
    """Of a network of nodes: convolutions of one feature map, their channels side by side; then another map is added.

    `source` and `added` are places: 0 is the image, n what the n-th part makes. With `rectified`, ReLU is behind it all; where
    nothing is added, it may cut off at `most` as well.
    """

    source: int
    convolutions: tuple[ConvolutionLayer, ...]
    rectified: bool = False
    most: float = math.inf
    added: int | None = None


@dataclass(frozen=True)
class GraphPooling:
    """Of a network of nodes: the max-pooling of what is at the place `source`."""

    source: int
    pooling: PoolingLayer


NetworkPart = ConvolutionLayer | PoolingLayer | FireLayers | BlockLayers | GraphLayers | GraphPooling


@dataclass(frozen=True)
class Structure:
    """The whole network: `side` and `channels` of its image, which is normalized by `mean` and `std`, one or one a channel.

    `classifier` is the last layer, with ReLU behind it where it is `rectified`. With `largest`, the largest of each
    channel remains of the last feature map, otherwise the mean; with `mirrored`, the mirror image is classified too.
    """

    side: int
    channels: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    parts: tuple[NetworkPart, ...]
    classifier: ConvolutionLayer
    rectified: bool = False
    largest: bool = False
    mirrored: bool = False


def not_its_own() -> SqueezekitError:
    """For weights that are not those of the network that a file describes."""
    return SqueezekitError("damaged: its weights are not those of its network; get the file again")
