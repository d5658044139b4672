"""From a trained network to its plan in integers: scales, zero points, int8 weights, gains.

Weights of a `.sqz` file that lie on grids of at most eight bits stay as they are; others are rounded to 127 steps on either side
of zero, a step for each filter. Scales of feature maps come from the ranges that a file states or that training images show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from squeezekit.codec.encodings import Quantized
from squeezekit.integer.plan import (
    LOW_BITS,
    MAX_GAIN,
    MAX_SUM,
    IntegerHead,
    IntegerPlan,
    IntegerResidual,
    Integers,
    sum_bounds,
)
from squeezekit.integer.walk import Numbers, Planned, Walk, steps_below_zero
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.system.errors import SqueezekitError

MAX_WEIGHT = 127  # Steps of a weight, on either side of zero.
MIN_STEP = 1 / 4096  # Of the layer's largest step: no filter's step is smaller.
MAX_FRACTION = 16
MAX_LOGIT = 1 << 30
Floats = NDArray[np.float64]


def plan_of(network: Planned, ranges: ActivationRanges, grids: Mapping[str, Quantized] | None = None) -> IntegerPlan:
    """The plan of a network whose batch normalization is folded.

    `ranges` are those of its convolutions' outputs on images; `grids`, by parameter name, are the quantized weights of a file.
    Raises SqueezekitError for a network whose sums may not fit 32 bits, or a mean that no byte stands for.
    """
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    spans = dict(zip(names, zip(ranges.low, ranges.high, strict=True), strict=True))
    return _Quantizer(network, spans, grids or {}).plan()


@dataclass(frozen=True)
class _Filters:
    """A convolution in floats, for bytes whose step is 1.

    weights: [filters, in, kernel, kernel]; bias: [filters]; grid: [filters], the step of weights that lie on a grid, else 0;
    border: the bytes around the source, one a channel.
    """

    weights: Floats
    bias: Floats
    grid: Floats
    border: tuple[int, ...]

    def steps(self, bias_limit: float) -> Floats:
        """The step [filters] of each filter's integers; no bias is `bias_limit` steps or more."""
        largest = np.abs(self.weights).max((1, 2, 3))
        steps = np.where(self.grid > 0, self.grid, largest / MAX_WEIGHT)
        floor = max(float(largest.max()) / MAX_WEIGHT * MIN_STEP, float(np.finfo(np.float32).tiny))
        found: Floats = np.maximum(steps, np.maximum(np.abs(self.bias) / bias_limit, floor))
        return found

    def integers(self, steps: Floats) -> NDArray[np.int8]:
        """Weights in steps: int8 [filters, kernel, kernel, in]."""
        found = np.clip(np.rint(self.weights / steps[:, None, None, None]), -MAX_WEIGHT, MAX_WEIGHT)
        return np.ascontiguousarray(found.transpose(0, 2, 3, 1).astype(np.int8))


class _Quantizer(Walk):
    """Gives steps the numbers of a trained network."""

    def __init__(self, network: Planned, spans: Mapping[str, tuple[float, float]], grids: Mapping[str, Quantized]) -> None:
        super().__init__(network)
        self._spans, self._grids = spans, grids

    def _span(self, name: str) -> tuple[float, float]:
        return self._spans[name]

    def _filters(self, name: str, module: nn.Conv2d | nn.Linear, zero: int = 0) -> _Filters:
        assert module.bias is not None
        weights, bias = (part.detach().numpy().astype(np.float64) for part in (module.weight, module.bias))
        weights = weights.reshape(*weights.shape[:2], *(weights.shape[2:] or (1, 1)))
        channels = module.in_features if isinstance(module, nn.Linear) else module.in_channels
        known = self._grids.get(f"{name}.weight")
        grid = np.zeros(len(weights))
        if known is not None:
            small = np.abs(known.integers).reshape(len(weights), -1).max(1) <= MAX_WEIGHT
            grid = np.where(small, known.scales.astype(np.float64), 0)
        return _Filters(weights, bias, grid, (zero,) * channels)

    def _stem(self, filters: _Filters, *, padded: bool) -> _Filters:
        """The first convolution with the normalization of pixels in it; a border of the mean's bytes is one of zeros after it."""
        config = self._config
        mean, std = (np.broadcast_to(np.array(numbers), config.channels) for numbers in (config.mean, config.std))
        border = np.rint(255 * mean)
        if padded and not (0 <= border.min() <= border.max() <= 255):
            raise SqueezekitError(f"mean {config.mean}: no byte stands for the padding; train with means between 0 and 1")
        weights = filters.weights / (255 * std)[:, None, None]
        bias = filters.bias - (filters.weights.sum((2, 3)) * (mean / std)).sum(1)
        grid = filters.grid / (255 * std[0]) if np.ptp(std) == 0 else np.zeros(len(weights))
        return _Filters(weights, bias, grid, tuple(int(byte) for byte in np.clip(border, 0, 255)))

    def _numbers(
        self, name: str, module: nn.Conv2d, source: int, target: int, residual: IntegerResidual | None, low: float
    ) -> Numbers:
        here, output = self._feature_maps[source], self._feature_maps[target]
        filters = self._filters(name, module, here.zero)
        if source == 0:
            filters = self._stem(filters, padded=int(module.padding[0]) > 0)
        steps = filters.steps(here.scale * MAX_SUM / 4)
        weights = filters.integers(steps)
        ratio = here.scale * steps / output.scale
        bias = filters.bias / (here.scale * steps) - here.zero * weights.astype(np.int64).sum((1, 2, 3))
        bias = bias + (output.zero if residual is None else steps_below_zero(low, output)) / ratio
        # Before integers are made of it: too large ones would turn into any others.
        if not np.abs(bias).max() < MAX_SUM:
            raise _too_long(name)
        bias = np.rint(bias).astype(np.int64)
        gain, shift = _gains(ratio, sum_bounds(weights, bias), name)
        return Numbers(weights, bias, gain, shift, filters.border)

    def _head(self, source: int, name: str, layer: nn.Conv2d | nn.Linear, *, relu: bool = False) -> tuple[IntegerHead, int]:
        """The head, and how many bits of its logits are a fraction: as many as int32 leaves for the largest possible logit."""
        filters, here = self._filters(name, layer), self._feature_maps[source]
        positions = here.height * here.width
        added = 1 if relu else positions
        steps = filters.steps(here.scale * 2**29 / added)
        weights = filters.integers(steps).reshape(len(steps), -1)
        exact = filters.bias * added / (here.scale * steps) - added * here.zero * weights.astype(np.int64).sum(1)
        drop = 0
        while (bound := _head_bound(weights, exact, added, drop).max()) >= 2**31:
            drop += 1
        value = here.scale * steps * 2.0**drop / positions / (2 if self._mirrored else 1)
        most = float((_head_bound(weights, exact, added, drop) * value).max()) * (positions if relu else 1) * 2
        assert bound < 2**31
        if not most < MAX_LOGIT:
            raise SqueezekitError(f"{name}: logits of up to {most:.1g} do not fit 32 bits; train the network again")
        fraction = max(min(MAX_FRACTION, math.floor(30 - math.log2(max(most, 1e-9)))), 0)
        value = value * 2.0**fraction
        shift = min(30 - math.floor(math.log2(float(value.max()))), 61)
        gain = np.minimum(np.rint(value * 2.0**shift), 2**31 - 1).astype(np.int64)
        bias = np.rint(exact / 2**drop).astype(np.int64)
        high = max(self._spans[name][1], 0.0) if relu else 0.0
        return IntegerHead(source, weights, bias, gain, shift, relu, drop, high), fraction


def _head_bound(weights: NDArray[np.int8], bias: Floats, added: int, drop: int) -> Floats:
    """The largest magnitude [classes] of a sum over `added` positions, its last `drop` bits left out."""
    bound: Floats = ((255 * added >> drop) + 1) * np.abs(weights.astype(np.int64)).sum(1) + np.abs(bias / 2**drop) + 1
    return bound


def _too_long(name: str) -> SqueezekitError:
    return SqueezekitError(
        f"{name}: its filters are so long, or its ranges so odd, that sums may not fit; train a narrower network"
    )


def _gains(ratio: Floats, bounds: Integers, name: str) -> tuple[Integers, int]:
    """Gains below 2**16 and a shift: sum · ratio is about sum · gain >> (12 + shift), within 32 bits for every possible sum."""
    if bounds.max() >= MAX_SUM:
        raise _too_long(name)
    shift = max(min(math.floor(math.log2(MAX_GAIN / float(ratio.max()))) - LOW_BITS, 23), 1)
    while True:
        gain = np.minimum(np.rint(ratio * 2.0 ** (LOW_BITS + shift)), MAX_GAIN).astype(np.int64)
        largest = (bounds >> LOW_BITS) * gain + ((1 << LOW_BITS) * gain >> LOW_BITS) + (1 << (shift - 1))
        if shift == 1 or largest.max() < 1 << 32:
            return gain, shift
        shift -= 1
