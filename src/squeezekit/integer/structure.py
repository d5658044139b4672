"""What a network that can be computed in integers consists of, from the fields and the shapes of weights that a file holds.

Nothing here needs PyTorch or NumPy: a device reads files by it, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..system.errors import SqueezekitError

Shape = tuple[int, ...]
MAX_KERNEL = 7
# What 16 bits of `struct sqz_layer` count.
MAX_CHANNELS = (1 << 16) - 1


@dataclass(frozen=True)
class ConvolutionLayer:
    """`name` is that of its weights, without `.weight`; shape: [filters, in channels, kernel, kernel]."""

    name: str
    shape: Shape
    stride: int = 1
    padding: int = 0
    depthwise: bool = False

    def __post_init__(self) -> None:
        # Neither the runtime nor a circuit leaves out pixels.
        if self.stride > self.kernel:
            raise _others()

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

    The input is added as it is with `identity`, or through the convolution `bypass`. With `gated`, half of the squeeze layer's
    channels gate the other half.
    """

    squeeze: ConvolutionLayer
    branches: tuple[ConvolutionLayer, ...]
    bypass: ConvolutionLayer | None
    identity: bool
    gated: bool


@dataclass(frozen=True)
class BlockLayers:
    """A block of a network of stages: convolutions with ReLU, then `last`, with ReLU where it is `rectified`.

    With `residual`, the block's input is added.
    """

    convolutions: tuple[ConvolutionLayer, ...]
    last: ConvolutionLayer
    residual: bool
    rectified: bool


NetworkPart = ConvolutionLayer | PoolingLayer | FireLayers | BlockLayers


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


def structure_of(network: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Structure:
    """The structure of a network of these fields, as its configuration has them, and these parameters.

    Raises SqueezekitError for a network that has no integer form, and for fields and parameters that do not go together.
    """
    if "base_e" not in network and "widths" not in network:
        raise SqueezekitError(f"a network '{str(network.get('name'))[:60]}' has no integer form; export it to ONNX instead")
    fields, weights = _Fields(network), _Weights(shapes)
    found = _squeezenet(fields, weights) if "base_e" in network else _staged(fields, weights)
    if weights.left or found.classifier.filters != found.classes or found.classifier.kernel != 1:
        raise _others()
    return found


def _squeezenet(fields: _Fields, weights: _Weights) -> Structure:
    stride, pooling = fields.whole("stem_stride", 1, 4, 1), PoolingLayer(fields.whole("pool_size", 2, 3, 2))
    bypass, gated = fields.word("bypass", "none"), fields.flag("gated")
    stem = weights.take("features.0")
    parts: list[NetworkPart] = [_padded(stem, stride) if stride == 1 else ConvolutionLayer(stem.name, stem.shape, stride)]
    # Modules and poolings are numbered one after the other; a pooling has no weights.
    number = 2
    while weights.has(f"features.{number}.squeeze") or weights.has(f"features.{number + 1}.squeeze"):
        name = f"features.{number}"
        parts.append(_fire(weights, name, bypass, gated) if weights.has(f"{name}.squeeze") else pooling)
        number += 1
    return Structure(
        *fields.image(),
        parts=tuple(parts),
        classifier=weights.take("classifier.1"),
        rectified=fields.flag("head_relu"),
        mirrored=fields.flag("mirrored"),
    )


def _fire(weights: _Weights, name: str, bypass: str, gated: bool) -> FireLayers:
    squeeze = weights.take(f"{name}.squeeze")
    branches = [_padded(weights.take(f"{name}.{branch}")) for branch in ("expand1x1", "expand3x3")]
    if weights.has(f"{name}.expand_depthwise"):
        branches.append(_padded(weights.take(f"{name}.expand_depthwise"), depthwise=True))
    through = weights.take(f"{name}.bypass") if weights.has(f"{name}.bypass") else None
    same = squeeze.shape[1] == sum(branch.filters for branch in branches)
    return FireLayers(squeeze, tuple(branches), through, through is None and bypass != "none" and same, gated)


def _staged(fields: _Fields, weights: _Weights) -> Structure:
    kind, pooled = fields.word("block", "inverted"), fields.flag("pooled", True)
    stem = weights.take("stem")
    parts: list[NetworkPart] = [stem if fields.word("stem", "learned") == "whitened" else _padded(stem)]
    for number, halved in enumerate(fields.halvings()):
        stride = 2 if halved and (kind == "inverted" or not pooled) else 1
        parts.append(_block(weights, f"blocks.{number}", kind, stride, halved))
        if halved and pooled and kind != "inverted":
            parts.append(PoolingLayer(3))
    largest = fields.word("last", "mean") == "max"
    return Structure(*fields.image(), parts=tuple(parts), classifier=weights.take("classifier", linear=True), largest=largest)


def _block(weights: _Weights, name: str, kind: str, stride: int, halved: bool) -> NetworkPart:
    if kind == "plain":
        return _padded(weights.take(f"{name}.convolution"), stride)
    if kind == "fire":
        first, last = weights.take(f"{name}.squeeze"), _padded(weights.take(f"{name}.expand"), stride)
        inner: tuple[ConvolutionLayer, ...] = (first,)
    elif kind == "inverted":
        first, last = weights.take(f"{name}.expand"), weights.take(f"{name}.project")
        inner = (first, _padded(weights.take(f"{name}.depthwise"), stride, depthwise=True))
    else:
        raise _damaged("block")
    return BlockLayers(inner, last, not halved and first.shape[1] == last.filters, kind == "fire")


def _padded(layer: ConvolutionLayer, stride: int = 1, depthwise: bool = False) -> ConvolutionLayer:
    return ConvolutionLayer(layer.name, layer.shape, stride, layer.kernel // 2, depthwise)


@dataclass
class _Weights:
    """The shapes of parameters, each of which is taken once."""

    shapes: Mapping[str, Shape]
    left: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.left = set(self.shapes)

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.shapes

    def take(self, name: str, *, linear: bool = False) -> ConvolutionLayer:
        """A layer with a bias, a `linear` one as one of 1 × 1 filters."""
        shape, bias = self.shapes.get(f"{name}.weight", ()), self.shapes.get(f"{name}.bias", ())
        shape = (*shape, 1, 1) if linear and len(shape) == 2 else shape
        if len(shape) != 4 or not all(shape) or shape[2] != shape[3] or shape[2] > MAX_KERNEL or bias != shape[:1]:
            raise _others()
        if max(shape) > MAX_CHANNELS:
            raise SqueezekitError(f"a layer of {max(shape):,} channels is too wide; train a network of at most {MAX_CHANNELS:,}")
        self.left -= {f"{name}.weight", f"{name}.bias"}
        return ConvolutionLayer(name, shape)


@dataclass(frozen=True)
class _Fields:
    """The fields of a configuration, which somebody else may have written."""

    values: Mapping[str, Any]

    def whole(self, name: str, least: int, most: int, otherwise: int) -> int:
        value = self.values.get(name, otherwise)
        if type(value) is not int or not least <= value <= most:
            raise _damaged(name)
        return value

    def flag(self, name: str, otherwise: bool = False) -> bool:
        value = self.values.get(name, otherwise)
        if type(value) is not bool:
            raise _damaged(name)
        return value

    def word(self, name: str, otherwise: str) -> str:
        value = self.values.get(name, otherwise)
        if not isinstance(value, str):
            raise _damaged(name)
        return value

    def numbers(self, name: str, least: float, most: float, counts: tuple[int, ...], otherwise: float) -> tuple[float, ...]:
        values = self.values.get(name, (otherwise,))
        if not isinstance(values, list | tuple) or len(values) not in counts:
            raise _damaged(name)
        if not all(type(value) in (int, float) and least <= value <= most for value in values):
            raise _damaged(name)
        return tuple(map(float, values))

    def image(self) -> tuple[int, int, int, tuple[float, ...], tuple[float, ...]]:
        """Side, channels, classes, mean and deviation."""
        side, channels = self.whole("image_size", 8, 1024, 32), self.whole("channels", 1, 4, 3)
        mean = self.numbers("mean", -1000, 1000, (1, channels), 0.0)
        return side, channels, self.whole("classes", 2, 65535, 10), mean, self.numbers("std", 1e-4, 1000, (1, channels), 1.0)

    def halvings(self) -> Iterator[bool]:
        """Of each block, whether it halves both sides."""
        depths, halved = self.values.get("depths", (2, 2, 2)), self.values.get("halved", (False, True, True))
        if not (isinstance(depths, list | tuple) and isinstance(halved, list | tuple) and len(depths) == len(halved) <= 8):
            raise _damaged("depths")
        for depth, halves in zip(depths, halved, strict=True):
            if type(depth) is not int or not 1 <= depth <= 64 or type(halves) is not bool:
                raise _damaged("depths")
            yield from (halves and number == 0 for number in range(depth))


def _damaged(name: str) -> SqueezekitError:
    return SqueezekitError(f"its network: {name} is none that a network can have; get the file again")


def _others() -> SqueezekitError:
    return SqueezekitError("damaged: its weights are not those of its network; get the file again")
