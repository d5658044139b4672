"""From a trained network to its plan in integers: scales, zeros, int8 weights, gains.

Weights of a `.sqz` file that lie on grids of at most eight bits stay as they are; others are rounded to 127 steps on either side
of zero, a step for each filter. Scales of maps come from the ranges that a file states or that training images show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from squeezekit.acceleration.folding import folded
from squeezekit.codec.encodings import Quantized
from squeezekit.data.batches import Batches
from squeezekit.data.image_set import ImageSet
from squeezekit.inference.evaluation import evaluate_model, own_images
from squeezekit.inference.model import Model
from squeezekit.integer.plan import (
    MOST_GAIN,
    MOST_SUM,
    PART,
    Convolution,
    Gating,
    Head,
    Integers,
    Map,
    Plan,
    Pooling,
    Residual,
    Step,
    sums_bound,
)
from squeezekit.integer.reference import IntegerNetwork
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.networks.fire import Fire
from squeezekit.networks.fire_variants import FireVariant
from squeezekit.networks.squeezenet import Head as NetworkHead
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.measurement import images_at_once

CALIBRATION_IMAGES = 512
STEPS = 127  # Of a weight, on either side of zero.
LEAST_SHARE = 1 / 4096  # No filter's step is a smaller share of the layer's largest.
MOST_FRACTION = 16
Floats = NDArray[np.float64]


def integer_plan(model: Model, data: str | Path | None = None) -> Plan:
    """The plan of a run or a `.sqz` file, for which `data` names the images where the file does not state ranges.

    Raises SqueezekitError for what is not of the SqueezeNet family.
    """
    if not isinstance(model.network, SqueezeNet):
        raise SqueezekitError(f"{model.name}: holds a '{model.config.name}'; inference in integers serves the SqueezeNet family")
    network, ranges, grids = folded(model.network), None, {}
    if Path(model.name).is_file():
        sqz = read_sqz(Path(model.name))
        ranges, grids = sqz.ranges, {name: part for name, part in sqz.weights.items() if isinstance(part, Quantized)}
    return plan_of(network, ranges or _measured(model, network, data), grids)


def plan_of(network: SqueezeNet, ranges: ActivationRanges, grids: Mapping[str, Quantized] | None = None) -> Plan:
    """The plan of a network without batch normalization; `grids` are those of its weights, by name, that lie on one."""
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    spans = {name: span for name, *span in zip(names, ranges.low, ranges.high, strict=True)}
    return _Quantiser(network, spans, grids or {}).plan()


def in_int8(model: Model, plan: Plan) -> Model:
    """The same model, computed by the plan."""
    config = model.config.model_copy(update={"mean": (0.0,), "std": (1.0,)})
    return replace(model, network=IntegerNetwork(plan), config=config)


def accuracy_in_integers(model: Model, plan: Plan, data: str | Path | None = None) -> dict[str, float]:
    """On the validation images, `before` and `after`; empty where no images are at hand."""
    if not (data or model.data):
        return {}
    before, after = (evaluate_model(one, data, "validation").accuracy for one in (model, in_int8(model, plan)))
    return {"before": before, "after": after}


def calibration_images(model: Model, images: ImageSet) -> NDArray[np.int64]:
    """Indices of some training images that are not validation images, always the same."""
    training = np.setdiff1d(np.arange(len(images)), model.validation(images))
    chosen: NDArray[np.int64] = np.random.default_rng(0).permutation(training)[:CALIBRATION_IMAGES]
    return chosen


def _measured(model: Model, network: SqueezeNet, data: str | Path | None) -> ActivationRanges:
    images, config = own_images(model, data).training, model.config
    size = images_at_once(config.image_size)
    batches = Batches(images, calibration_images(model, images), batch_size=size, mean=config.mean, std=config.std)
    return ActivationRanges.of(network, batches.in_order())


@dataclass(frozen=True)
class _Filters:
    """A convolution in floats: weights [filters, in, kernel, kernel] for bytes whose step is 1, bias [filters], `grid`, the steps
    [filters] of weights that lie on one (0 elsewhere), and the `border` bytes around the source.
    """

    weights: Floats
    bias: Floats
    grid: Floats
    border: tuple[int, ...]

    def steps(self, bias_limit: float) -> Floats:
        """What one step of each filter's integers is worth; biases stay below `bias_limit` of them."""
        largest = np.abs(self.weights).max((1, 2, 3))
        steps = np.where(self.grid > 0, self.grid, largest / STEPS)
        floor = max(float(largest.max()) / STEPS * LEAST_SHARE, float(np.finfo(np.float32).tiny))
        found: Floats = np.maximum(steps, np.maximum(np.abs(self.bias) / bias_limit, floor))
        return found

    def integers(self, steps: Floats) -> NDArray[np.int8]:
        """Weights in steps: int8 [filters, kernel, kernel, in]."""
        found = np.clip(np.rint(self.weights / steps[:, None, None, None]), -STEPS, STEPS)
        return np.ascontiguousarray(found.transpose(0, 2, 3, 1).astype(np.int8))


class _Quantiser:
    """Walks through a network without batch normalization and writes down its maps and steps."""

    def __init__(self, network: SqueezeNet, spans: Mapping[str, list[float]], grids: Mapping[str, Quantized]) -> None:
        config = network.config
        self._network, self._config, self._spans, self._grids = network, config, spans, grids
        self._maps = [Map(config.image_size, config.image_size, config.channels, 1.0)]
        self._steps: list[Step] = []

    def plan(self) -> Plan:
        layers = [(f"features.{name}", module) for name, module in self._network.features.named_children()]
        layers = [(name, module) for name, module in layers if not isinstance(module, nn.ReLU | nn.Identity)]
        current = 0
        while layers:
            name, module = layers.pop(0)
            pooled = bool(layers) and _joins(module, layers[0][1])
            if pooled:
                layers.pop(0)
            if isinstance(module, nn.MaxPool2d):
                current = self._pool(current, int(module.kernel_size))  # type: ignore[arg-type]
            elif isinstance(module, Fire):
                current = self._fire(name, module, current, pooled)
            else:
                current = self._convolve(name, module, current, self._map_of(name, module, current, pooled=pooled), pooled=pooled)
        self._steps.append(self._head(current))
        return Plan(tuple(self._maps), tuple(self._steps), self._fraction, self._config.mirrored)

    def _fire(self, name: str, fire: Fire, source: int, pooled: bool) -> int:
        residual = None
        if isinstance(fire.bypass, nn.Conv2d):
            below = self._spans[f"{name}.bypass"][0]
            residual = self._map_of(f"{name}.bypass", fire.bypass, source, low=below)
            self._convolve(f"{name}.bypass", fire.bypass, source, residual)
        elif fire.bypass is not None:
            residual = source
        gated = isinstance(fire, FireVariant) and fire.gated
        below = self._spans[f"{name}.squeeze"][0] if gated else 0.0
        squeezed = self._map_of(f"{name}.squeeze", fire.squeeze, source, low=below)
        self._convolve(f"{name}.squeeze", fire.squeeze, source, squeezed)
        if gated:
            squeezed = self._gate(squeezed)
        branches = {f"{name}.{kind}": branch for kind, branch in fire.expands().items()}
        high = max(self._spans[branch][1] for branch in branches)
        target, added = self._sum(squeezed, fire.out_channels, high, residual, pooled)
        first = 0
        for branch, module in branches.items():
            self._convolve(branch, module, squeezed, target, first=first, pooled=pooled, residual=added)
            first += module.out_channels
        return target

    def _gate(self, source: int) -> int:
        """Values of either sign come no further from 0 by a sigmoid: the same scale serves."""
        here = self._maps[source]
        sigmoid = 1 / (1 + np.exp(-here.scale * (np.arange(256) - here.zero)))
        table = np.rint(255 * sigmoid).astype(np.uint8)
        self._maps.append(replace(here, channels=here.channels // 2))
        self._steps.append(Gating(source, len(self._maps) - 1, here.zero, table))
        return len(self._maps) - 1

    def _map_of(self, name: str, module: nn.Module, source: int, *, low: float = 0.0, pooled: bool = False) -> int:
        """A new map for what a convolution gives, from `low` to the most that has been seen."""
        assert isinstance(module, nn.Conv2d)
        stride, padding, kernel = module.stride[0], int(module.padding[0]), module.kernel_size[0]
        here = self._maps[source]
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (here.height, here.width))
        return self._map(height, width, module.out_channels, low, self._spans[name][1], pooled)

    def _map(self, height: int, width: int, channels: int, low: float, high: float, pooled: bool) -> int:
        if pooled:
            height, width = -(-height // 2), -(-width // 2)
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255 or 1.0
        self._maps.append(Map(height, width, channels, scale, min(math.ceil(-low / scale), 255)))
        return len(self._maps) - 1

    def _sum(self, squeezed: int, channels: int, high: float, residual: int | None, pooled: bool) -> tuple[int, Residual | None]:
        """The map of a module's output: its expand layer's and, if there is a residual, that as well."""
        here = self._maps[squeezed]
        if residual is None:
            return self._map(here.height, here.width, channels, 0, high, pooled), None
        other = self._maps[residual]
        low, most = -other.zero * other.scale, (255 - other.zero) * other.scale
        target = self._map(here.height, here.width, channels, low, high + most, pooled)
        ours = self._maps[target]
        ratio = other.scale / ours.scale
        shift = min(int(math.log2(MOST_GAIN / ratio)), 16)
        gain = min(round(ratio * 2**shift), MOST_GAIN)
        # Not below zero, as the target's zero was rounded up; but its gain may have been as well.
        offset = max((ours.zero << shift) - other.zero * gain + (1 << (shift - 1)), 0)
        return target, Residual(residual, gain, offset, shift)

    def _filters(self, name: str, module: nn.Conv2d, zero: int = 0) -> _Filters:
        assert module.bias is not None
        weights, bias = (part.detach().numpy().astype(np.float64) for part in (module.weight, module.bias))
        known = self._grids.get(f"{name}.weight")
        grid = np.zeros(len(weights))
        if known is not None:
            small = np.abs(known.integers).reshape(len(weights), -1).max(1) <= STEPS
            grid = np.where(small, known.scales.astype(np.float64), 0)
        return _Filters(weights, bias, grid, (zero,) * module.in_channels)

    def _stem(self, filters: _Filters) -> _Filters:
        """With the normalization of pixels; a border of the mean's bytes is one of zeros after it."""
        config = self._config
        mean, std = (np.broadcast_to(np.array(numbers), config.channels) for numbers in (config.mean, config.std))
        border = np.rint(255 * mean)
        if config.stem_stride == 1 and not (0 <= border.min() <= border.max() <= 255):
            raise SqueezekitError(f"mean {config.mean}: no byte stands for the padding; train with means between 0 and 1")
        weights = filters.weights / (255 * std)[:, None, None]
        bias = filters.bias - (filters.weights.sum((2, 3)) * (mean / std)).sum(1)
        grid = filters.grid / (255 * std[0]) if np.ptp(std) == 0 else np.zeros(len(weights))
        return _Filters(weights, bias, grid, tuple(int(byte) for byte in np.clip(border, 0, 255)))

    def _convolve(
        self,
        name: str,
        module: nn.Module,
        source: int,
        target: int,
        *,
        first: int = 0,
        pooled: bool = False,
        residual: Residual | None = None,
    ) -> int:
        assert isinstance(module, nn.Conv2d)
        here, there = self._maps[source], self._maps[target]
        filters = self._filters(name, module, here.zero)
        if source == 0:
            filters = self._stem(filters)
        steps = filters.steps(here.scale * MOST_SUM / 4)
        weights = filters.integers(steps)
        ratio = here.scale * steps / there.scale
        bias = filters.bias / (here.scale * steps) - here.zero * weights.astype(np.int64).sum((1, 2, 3))
        if residual is None:
            bias = bias + there.zero / ratio
        bias = np.rint(bias).astype(np.int64)
        gain, shift = _gains(ratio, sums_bound(weights, bias), name)
        self._steps.append(
            Convolution(
                source,
                target,
                weights,
                bias,
                gain,
                shift,
                filters.border,
                module.stride[0],
                int(module.padding[0]),
                first,
                pooled,
                residual,
                depthwise=module.groups > 1,
            )
        )
        return target

    def _pool(self, source: int, size: int) -> int:
        here = self._maps[source]
        # Windows that begin inside, as PyTorch has it with ceil_mode.
        height, width = (-(-(side - size) // 2) + 1 for side in (here.height, here.width))
        self._maps.append(Map(height, width, here.channels, here.scale, here.zero))
        self._steps.append(Pooling(source, len(self._maps) - 1, size))
        return len(self._maps) - 1

    def _head(self, source: int) -> Head:
        network = self._network.classifier
        assert isinstance(network, NetworkHead) and isinstance(network[1], nn.Conv2d)
        filters, here = self._filters("classifier.1", network[1]), self._maps[source]
        positions = here.height * here.width
        added = 1 if network.relu else positions
        steps = filters.steps(here.scale * 2**29 / added)
        weights = filters.integers(steps).reshape(len(steps), -1)
        exact = filters.bias * added / (here.scale * steps) - added * here.zero * weights.astype(np.int64).sum(1)
        drop = 0
        while (bound := _head_bound(weights, exact, added, drop).max()) >= 2**31:
            drop += 1
        value = here.scale * steps * 2.0**drop / positions / (2 if self._config.mirrored else 1)
        most = float((_head_bound(weights, exact, added, drop) * value).max()) * (positions if network.relu else 1) * 2
        assert bound < 2**31
        self._fraction = max(min(MOST_FRACTION, math.floor(30 - math.log2(max(most, 1e-9)))), 0)
        value = value * 2.0**self._fraction
        shift = min(30 - math.floor(math.log2(float(value.max()))), 61)
        gain = np.minimum(np.rint(value * 2.0**shift), 2**31 - 1).astype(np.int64)
        return Head(source, weights, np.rint(exact / 2**drop).astype(np.int64), gain, shift, network.relu, drop)


def _joins(module: nn.Module, following: nn.Module) -> bool:
    """Whether a pooling can be computed with what stands before it: two by two, without overlap, and nothing added in between."""
    pools = isinstance(following, nn.MaxPool2d) and following.kernel_size == 2
    return pools and not isinstance(module, nn.MaxPool2d) and getattr(module, "bypass", None) is None


def _head_bound(weights: NDArray[np.int8], bias: Floats, added: int, drop: int) -> Floats:
    found: Floats = ((255 * added >> drop) + 1) * np.abs(weights.astype(np.int64)).sum(1) + np.abs(bias / 2**drop) + 1
    return found


def _gains(ratio: Floats, bounds: Integers, name: str) -> tuple[Integers, int]:
    """Gains below 2**16 and a shift: sum · ratio is about sum · gain >> (12 + shift), within 32 bits for every possible sum."""
    if bounds.max() >= MOST_SUM:
        raise SqueezekitError(f"{name}: its filters are so long that sums may not fit; train a narrower network")
    shift = max(min(math.floor(math.log2(MOST_GAIN / float(ratio.max()))) - PART, 23), 1)
    while True:
        gain = np.minimum(np.rint(ratio * 2.0 ** (PART + shift)), MOST_GAIN).astype(np.int64)
        largest = (bounds >> PART) * gain + ((1 << PART) * gain >> PART) + (1 << (shift - 1))
        if shift == 1 or largest.max() < 1 << 32:
            return gain, shift
        shift -= 1
