"""From the weights of a network and the ranges of its feature maps to its plan in integers: scales, zero points, gains.

Weights of a `.sqz` file that lie on grids of at most eight bits stay as they are; others are rounded to 127 steps on either side
of zero, a step for each filter. What goes over all weights is done by the caller's arrays; here are a few numbers for each
filter, in doubles, whose operations are rounded alike on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..system.errors import SqueezekitError
from .parts import BlockLayers, ConvolutionLayer, FireLayers, GraphLayers, GraphPooling, NetworkPart, PoolingLayer, Structure
from .plan import (
    LOW_BITS,
    MAX_GAIN,
    MAX_SUM,
    FeatureMap,
    IntegerConvolution,
    IntegerHead,
    IntegerPlan,
    IntegerPooling,
    IntegerResidual,
    Step,
)

MAX_WEIGHT = 127  # Steps of a weight, on either side of zero.
MIN_STEP = 1 / 4096  # Of the layer's largest step: no filter's step is smaller.
MAX_FRACTION = 16
MIN_SCALE = 1e-9  # A feature map of smaller steps holds nothing but zeros.
MAX_LOGIT = 1 << 30
LEAST_FLOAT = 2.0**-126  # The smallest normal float32.


class Rounded(NamedTuple):
    """Weights in steps, int8 [filters, kernel, kernel, in], and of each filter their sum and the sum of their magnitudes."""

    weights: Any
    sums: Sequence[int]
    magnitudes: Sequence[int]


class Filters(Protocol):
    """The weights of a layer in floats, [filters, in, kernel, kernel], and its biases [filters].

    `grid` is the step of each filter whose weights lie on a grid of at most 127 steps, else 0. Where `divisors` are given, one
    for each input channel, weights count divided by them.
    """

    @property
    def bias(self) -> Sequence[float]: ...

    @property
    def grid(self) -> Sequence[float]: ...

    def values(self) -> Sequence[float]:
        """All weights, filter by filter and channel by channel."""

    def largest(self, divisors: Sequence[float] | None) -> Sequence[float]:
        """The largest magnitude of each filter."""

    def rounded(self, steps: Sequence[float], divisors: Sequence[float] | None) -> Rounded:
        """Each weight to the nearest of its filter's steps, halves to even, at most 127 of them."""


class Arrays(Protocol):
    """What a plan's arrays are made by."""

    def filters(self, name: str) -> Filters:
        """Those of the layer of this name."""

    def integers(self, numbers: Sequence[int]) -> Any:
        """An array of int64."""


def build_plan(structure: Structure, arrays: Arrays, spans: Mapping[str, Sequence[float]]) -> IntegerPlan:
    """The plan of a network; `spans` are the least and the largest output of each convolution, by its name.

    Raises SqueezekitError for a network whose sums may not fit 32 bits, whose layers do not fit each other, or with a mean that
    no byte stands for.
    """
    return _PlanBuilder(structure, arrays, spans).plan()


@dataclass(frozen=True)
class _Layer:
    """A layer for bytes whose step is 1: `bias` [filters], `grid` [filters], and `border`, the bytes around it, one a channel."""

    filters: Filters
    bias: Sequence[float]
    grid: Sequence[float]
    border: tuple[int, ...]
    divisors: Sequence[float] | None = None

    def steps(self, bias_limit: float) -> list[float]:
        """The step [filters] of each filter's integers; no bias is `bias_limit` steps or more."""
        largest = self.filters.largest(self.divisors)
        floor = max(max(largest) / MAX_WEIGHT * MIN_STEP, LEAST_FLOAT)
        return [
            max(grid if grid > 0 else most / MAX_WEIGHT, abs(bias) / bias_limit, floor)
            for grid, most, bias in zip(self.grid, largest, self.bias, strict=True)
        ]

    def rounded(self, steps: Sequence[float]) -> Rounded:
        return self.filters.rounded(steps, self.divisors)


class _Added(NamedTuple):
    """What a convolution is added to, and the zero point of what it makes itself."""

    residual: IntegerResidual
    zero: int


class _PlanBuilder:
    """Walks through a network and collects its feature maps and steps."""

    def __init__(self, structure: Structure, arrays: Arrays, spans: Mapping[str, Sequence[float]]) -> None:
        self._structure, self._arrays, self._spans = structure, arrays, spans
        self._feature_maps = [FeatureMap(structure.side, structure.side, structure.channels, 1.0)]
        self._steps: list[Step] = []
        # Feature maps by place, for parts that are nodes of a graph.
        self._places = [0]

    def plan(self) -> IntegerPlan:
        current, parts = 0, list(self._structure.parts)
        while parts:
            part = parts.pop(0)
            pooled = bool(parts) and _is_fusible(part, parts[0])
            if pooled:
                parts.pop(0)
            current = self._part(part, current, pooled)
        while self._structure.largest and self._feature_maps[current].height > 1:
            # The largest of the largest is the largest of all.
            current = self._pool(current, 3)
        head, fraction = self._head(current)
        return IntegerPlan(tuple(self._feature_maps), (*self._steps, head), fraction, self._structure.mirrored)

    def _part(self, part: NetworkPart, source: int, pooled: bool) -> int:
        if isinstance(part, PoolingLayer):
            return self._pool(source, part.size)
        if isinstance(part, GraphLayers | GraphPooling):
            self._places.append(self._node(part))
            return self._places[-1]
        if isinstance(part, FireLayers):
            return self._fire(part, source, pooled)
        if isinstance(part, BlockLayers):
            return self._block(part, source)
        return self._convolved(part, source, pooled=pooled)

    def _convolved(self, layer: ConvolutionLayer, source: int, *, low: float = 0.0, pooled: bool = False) -> int:
        """A convolution of outputs from `low` on; with 0, ReLU is behind it."""
        target = self._output_map(layer, source, low=low, pooled=pooled)
        self._convolve(layer, source, target, pooled=pooled)
        return target

    def _block(self, block: BlockLayers, source: int) -> int:
        current = source
        for layer in block.convolutions:
            current = self._convolved(layer, current)
        low, high = self._spans[block.last.name]
        low = 0.0 if block.rectified else low
        if not block.residual:
            return self._convolved(block.last, current, low=low)
        here = self._feature_maps[current]
        target, added = self._residual_sum((here.height, here.width), block.last.filters, high, source, low)
        self._convolve(block.last, current, target, added=added)
        return target

    def _fire(self, fire: FireLayers, source: int, pooled: bool) -> int:
        residual = source if fire.identity else None
        if fire.bypass is not None:
            residual = self._convolved(fire.bypass, source, low=self._spans[fire.bypass.name][0])
        squeezed = self._convolved(fire.squeeze, source)
        high = max(self._spans[branch.name][1] for branch in fire.branches)
        channels = sum(branch.filters for branch in fire.branches)
        here = self._feature_maps[squeezed]
        sides = _halved(here.height, here.width) if pooled else (here.height, here.width)
        added = None
        if residual is None:
            target = self._add_map(*sides, channels, 0.0, high)
        else:
            target, added = self._residual_sum(sides, channels, high, residual)
        first = 0
        for branch in fire.branches:
            self._convolve(branch, squeezed, target, first=first, pooled=pooled, added=added)
            first += branch.filters
        return target

    def _node(self, part: GraphLayers | GraphPooling) -> int:
        source = self._places[part.source]
        if isinstance(part, GraphPooling):
            return self._pool(source, part.pooling.size)
        spans = [self._spans[layer.name] for layer in part.convolutions]
        low, high = min(low for low, _ in spans), min(max(high for _, high in spans), part.most)
        sides = _sides_after(part.convolutions[0], self._feature_maps[source], False)
        channels, added = sum(layer.filters for layer in part.convolutions), None
        if part.added is None:
            target = self._add_map(*sides, channels, 0.0 if part.rectified else low, high)
        elif part.rectified:
            target, added = self._rectified_sum(sides, channels, high, self._places[part.added], low)
        else:
            target, added = self._residual_sum(sides, channels, high, self._places[part.added], low)
        first = 0
        for layer in part.convolutions:
            self._convolve(layer, source, target, first=first, added=added)
            first += layer.filters
        return target

    def _rectified_sum(self, sides: tuple[int, int], channels: int, high: float, residual: int, low: float) -> tuple[int, _Added]:
        """The feature map of a sum with ReLU behind it, and what is added: both are raised above zero before."""
        other, low, high = self._feature_maps[residual], min(low, 0.0), max(high, 0.0)
        if (other.height, other.width, other.channels) != (*sides, channels):
            raise _unfit("a bypass")
        # The convolution alone has to fit, too.
        target = self._add_map(*sides, channels, 0.0, max(high + (255 - other.zero) * other.scale, high - low))
        total = self._feature_maps[target]
        # A step of more than a whole map's cuts off whatever it is added to.
        gain, shift = _residual_gain(min(other.scale / total.scale, 256.0))
        raised = min(math.ceil(-low / total.scale), 255)
        of_other = -(-(other.zero * gain) >> shift)
        offset = (of_other << shift) - other.zero * gain + (1 << (shift - 1))
        return target, _Added(IntegerResidual(residual, gain, offset, shift, raised + of_other), raised)

    def _output_map(self, layer: ConvolutionLayer, source: int, *, low: float = 0.0, pooled: bool = False) -> int:
        """A new feature map for a convolution's output, from `low` to the largest value seen."""
        sides = _sides_after(layer, self._feature_maps[source], pooled)
        return self._add_map(*sides, layer.filters, low, self._spans[layer.name][1])

    def _add_map(self, height: int, width: int, channels: int, low: float, high: float) -> int:
        if height < 1:
            raise SqueezekitError("its images are too small for its layers; get the file again")
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255
        scale = scale if scale >= MIN_SCALE else 1.0
        self._feature_maps.append(FeatureMap(height, width, channels, scale, min(math.ceil(-low / scale), 255)))
        return len(self._feature_maps) - 1

    def _residual_sum(
        self, sides: tuple[int, int], channels: int, high: float, residual: int, low: float = 0.0
    ) -> tuple[int, _Added]:
        """The feature map of a module's output: its last layer's, from `low` to `high`, and that of a residual added."""
        other, high = self._feature_maps[residual], max(high, 0.0)
        if (other.height, other.width, other.channels) != (*sides, channels):
            raise _unfit("a bypass")
        low, least, most = min(low, 0.0), -other.zero * other.scale, (255 - other.zero) * other.scale
        target = self._add_map(*sides, channels, low + least, high + most)
        total = self._feature_maps[target]
        gain, shift = _residual_gain(other.scale / total.scale)
        # The target's zero point was rounded up, so this is not negative unless the gain was rounded up as well.
        raised = _steps_below_zero(low, total)
        offset = max(((total.zero - raised) << shift) - other.zero * gain + (1 << (shift - 1)), 0)
        return target, _Added(IntegerResidual(residual, gain, offset, shift), raised)

    def _layer(self, layer: ConvolutionLayer, source: int) -> _Layer:
        here, filters = self._feature_maps[source], self._arrays.filters(layer.name)
        wanted = 1 if layer.depthwise else here.channels
        if layer.shape[1] != wanted or (layer.depthwise and layer.filters != here.channels):
            raise _unfit(layer.name)
        if source:
            return _Layer(filters, filters.bias, filters.grid, (here.zero,) * here.channels)
        return self._stem(layer, filters)

    def _stem(self, layer: ConvolutionLayer, filters: Filters) -> _Layer:
        """The first convolution with the normalization of pixels in it; a border of the mean's bytes is one of zeros after it."""
        channels = self._structure.channels
        mean, std = (numbers * (channels // len(numbers)) for numbers in (self._structure.mean, self._structure.std))
        border = [round(255 * each) for each in mean]
        if layer.padding and not 0 <= min(border) <= max(border) <= 255:
            raise SqueezekitError(f"mean {self._structure.mean}: no byte stands for the padding; use means between 0 and 1")
        values, taps = filters.values(), layer.kernel**2
        sums = [math.fsum(values[begin : begin + taps]) for begin in range(0, layer.filters * channels * taps, taps)]
        bias = [
            given - math.fsum(sums[number * channels + c] * (mean[c] / std[c]) for c in range(channels))
            for number, given in enumerate(filters.bias)
        ]
        grid = [each / (255 * std[0]) if len(set(std)) == 1 else 0.0 for each in filters.grid]
        return _Layer(filters, bias, grid, tuple(min(max(byte, 0), 255) for byte in border), [255 * each for each in std])

    def _convolve(
        self,
        layer: ConvolutionLayer,
        source: int,
        target: int,
        *,
        first: int = 0,
        pooled: bool = False,
        added: _Added | None = None,
    ) -> None:
        here, output, of_bytes = self._feature_maps[source], self._feature_maps[target], self._layer(layer, source)
        if _sides_after(layer, here, pooled) != (output.height, output.width):
            raise _unfit(layer.name)
        steps = of_bytes.steps(here.scale * MAX_SUM / 4)
        rounded = of_bytes.rounded(steps)
        ratio = [here.scale * step / output.scale for step in steps]
        zero = output.zero if added is None else added.zero
        exact = [
            bias / (here.scale * step) - here.zero * total + zero / each
            for bias, step, total, each in zip(of_bytes.bias, steps, rounded.sums, ratio, strict=True)
        ]
        # Before integers are made of it: too large ones would turn into any others.
        if not all(abs(each) < MAX_SUM for each in exact):
            raise _too_long(layer.name)
        bias = [round(each) for each in exact]
        bounds = [255 * magnitude + abs(each) for magnitude, each in zip(rounded.magnitudes, bias, strict=True)]
        gain, shift = _gains(ratio, bounds, layer.name)
        integers = self._arrays.integers
        self._steps.append(
            IntegerConvolution(
                source,
                target,
                rounded.weights,
                integers(bias),
                integers(gain),
                shift,
                of_bytes.border,
                layer.stride,
                layer.padding,
                first,
                pooled,
                added.residual if added else None,
                depthwise=layer.depthwise,
            )
        )

    def _pool(self, source: int, size: int) -> int:
        here = self._feature_maps[source]
        # As in PyTorch with ceil_mode: windows that begin inside.
        height, width = (-(-(side - size) // 2) + 1 for side in (here.height, here.width))
        if height < 1:
            raise SqueezekitError("its images are too small for its layers; get the file again")
        self._feature_maps.append(FeatureMap(height, width, here.channels, here.scale, here.zero))
        self._steps.append(IntegerPooling(source, len(self._feature_maps) - 1, size))
        return len(self._feature_maps) - 1

    def _head(self, source: int) -> tuple[IntegerHead, int]:
        """The head, and how many bits of its logits are a fraction: as many as int32 leaves for the largest possible logit."""
        relu, here = self._structure.rectified, self._feature_maps[source]
        layer = self._layer(self._structure.classifier, source)
        positions = here.height * here.width
        added = 1 if relu else positions
        steps = layer.steps(here.scale * 2**29 / added)
        rounded = layer.rounded(steps)
        exact = [
            bias * added / (here.scale * step) - added * here.zero * total
            for bias, step, total in zip(layer.bias, steps, rounded.sums, strict=True)
        ]
        drop = 0
        while max(bounds := _head_bounds(rounded.magnitudes, exact, added, drop)) >= 2**31:
            drop += 1
        halves = 2 if self._structure.mirrored else 1
        value = [here.scale * step * 2.0**drop / positions / halves for step in steps]
        most = max(bound * each for bound, each in zip(bounds, value, strict=True)) * (positions if relu else 1) * 2
        if not most < MAX_LOGIT:
            raise SqueezekitError(
                f"{self._structure.classifier.name}: logits of up to {most:.1g} do not fit 32 bits; train the network again"
            )
        fraction = max(min(MAX_FRACTION, math.floor(30 - math.log2(max(most, 1e-9)))), 0)
        value = [each * 2.0**fraction for each in value]
        shift = min(30 - math.floor(math.log2(max(value))), 61)
        gain = self._arrays.integers([min(round(each * 2.0**shift), 2**31 - 1) for each in value])
        bias = self._arrays.integers([round(each / 2**drop) for each in exact])
        high = max(self._spans[self._structure.classifier.name][1], 0.0) if relu else 0.0
        return IntegerHead(source, rounded.weights, bias, gain, shift, relu, drop, high), fraction


def _sides_after(layer: ConvolutionLayer, source: FeatureMap, pooled: bool) -> tuple[int, int]:
    """Height and width of what a convolution makes, with `pooled` after its 2 × 2 max-pooling."""
    height, width = ((side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in (source.height, source.width))
    return _halved(height, width) if pooled else (height, width)


def _halved(height: int, width: int) -> tuple[int, int]:
    """Sides after 2 × 2 max-pooling, windows cut off at the edges."""
    return -(-height // 2), -(-width // 2)


def _residual_gain(ratio: float) -> tuple[int, int]:
    """A residual's gain, of 16 bits, and shift, for the ratio of its scale to the sum's."""
    shift = min(int(math.log2(MAX_GAIN / ratio)), 16)
    return min(round(ratio * 2**shift), MAX_GAIN), shift


def _steps_below_zero(low: float, target: FeatureMap) -> int:
    """How many steps of a feature map values from `low` on need below zero."""
    return min(math.ceil(max(-low, 0.0) / target.scale), target.zero)


def _is_fusible(part: NetworkPart, following: NetworkPart) -> bool:
    """Whether a pooling can be computed with the layer before it: two by two, without overlap, no bypass in between."""
    pools = isinstance(following, PoolingLayer) and following.size == 2
    bypassed = isinstance(part, FireLayers) and (part.identity or part.bypass is not None)
    return pools and isinstance(part, ConvolutionLayer | FireLayers) and not bypassed


def _head_bounds(magnitudes: Sequence[int], bias: Sequence[float], added: int, drop: int) -> list[float]:
    """The largest magnitude [classes] of a sum over `added` positions, its last `drop` bits left out."""
    share = (255 * added >> drop) + 1
    return [share * magnitude + abs(each / 2**drop) + 1 for magnitude, each in zip(magnitudes, bias, strict=True)]


def _too_long(name: str) -> SqueezekitError:
    return SqueezekitError(
        f"{name}: its filters are so long, or its ranges so odd, that sums may not fit; train a narrower network"
    )


def _unfit(name: str) -> SqueezekitError:
    return SqueezekitError(f"damaged: {name} does not fit the layers before it; get the file again")


def _gains(ratio: Sequence[float], bounds: Sequence[int], name: str) -> tuple[list[int], int]:
    """Gains below 2**16 and a shift: sum · ratio is about sum · gain >> (12 + shift), within 32 bits for every possible sum."""
    if max(bounds) >= MAX_SUM:
        raise _too_long(name)
    shift = max(min(math.floor(math.log2(MAX_GAIN / max(ratio))) - LOW_BITS, 23), 1)
    while True:
        gain = [min(round(each * 2.0 ** (LOW_BITS + shift)), MAX_GAIN) for each in ratio]
        largest = (
            (bound >> LOW_BITS) * each + ((1 << LOW_BITS) * each >> LOW_BITS) + (1 << (shift - 1))
            for bound, each in zip(bounds, gain, strict=True)
        )
        if shift == 1 or max(largest) < 1 << 32:
            return gain, shift
        shift -= 1
