"""From a trained network to its plan in integers: scales, zero points, int8 weights, gains.

Weights of a `.sqz` file that lie on grids of at most eight bits stay as they are; others are rounded to 127 steps on either side
of zero, a step for each filter. Scales of feature maps come from the ranges that a file states or that training images show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from squeezekit.codec.encodings import Quantized
from squeezekit.integer.plan import (
    LOW_BITS,
    MAX_GAIN,
    MAX_SUM,
    FeatureMap,
    IntegerConvolution,
    IntegerGating,
    IntegerHead,
    IntegerPlan,
    IntegerPooling,
    IntegerResidual,
    Integers,
    Step,
    sum_bounds,
)
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.networks.fire import Fire
from squeezekit.networks.fire_variants import FireVariant
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.networks.staged import Inverted, Plain, SqueezeExpand, Staged
from squeezekit.system.errors import SqueezekitError

MAX_WEIGHT = 127  # Steps of a weight, on either side of zero.
MIN_STEP = 1 / 4096  # Of the layer's largest step: no filter's step is smaller.
MAX_FRACTION = 16
MIN_SCALE = 1e-9  # A feature map of smaller steps holds nothing but zeros.
MAX_LOGIT = 1 << 30
# What a plan can hold, alone or in a container.
LAYERS = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Dropout, nn.Identity)
CONTAINERS = (nn.Sequential, Fire)
# Networks that have a plan.
Planned = SqueezeNet | Staged
Floats = NDArray[np.float64]


def plan_of(network: Planned, ranges: ActivationRanges, grids: Mapping[str, Quantized] | None = None) -> IntegerPlan:
    """The plan of a network whose batch normalization is folded.

    `ranges` are those of its convolutions' outputs on images; `grids`, by parameter name, are the quantized weights of a file.
    Raises SqueezekitError for a network whose sums may not fit 32 bits, or a mean that no byte stands for.
    """
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    spans = {name: span for name, *span in zip(names, ranges.low, ranges.high, strict=True)}
    return _Quantizer(network, spans, grids or {}).plan()


def no_integer_form(network: nn.Module) -> str | None:
    """Why a network has no plan, in half a sentence that names its first layer without an integer form; None where it has one."""
    if isinstance(network, Planned):
        return None
    found = _first_unsupported(network)
    what = f"layer '{found[0]}' ({type(found[1]).__name__})" if found else f"a {type(network).__name__}"
    return f"{what} has no integer form; export to ONNX instead"


def _first_unsupported(parent: nn.Module, prefix: str = "") -> tuple[str, nn.Module] | None:
    for name, module in parent.named_children():
        if isinstance(module, LAYERS):
            continue
        if found := _first_unsupported(module, f"{prefix}{name}."):
            return found
        if not isinstance(module, CONTAINERS):
            return f"{prefix}{name}", module
    return None


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


class _Quantizer:
    """Walks through a network without batch normalization and collects its feature maps and steps."""

    def __init__(self, network: Planned, spans: Mapping[str, list[float]], grids: Mapping[str, Quantized]) -> None:
        config = network.config
        self._network, self._config, self._spans, self._grids = network, config, spans, grids
        self._feature_maps = [FeatureMap(config.image_size, config.image_size, config.channels, 1.0)]
        self._mirrored = bool(getattr(config, "mirrored", False))
        self._steps: list[Step] = []

    def plan(self) -> IntegerPlan:
        network = self._network
        if isinstance(network, Staged):
            head, fraction = self._head(self._staged(network), "classifier", network.classifier)
        else:
            classifier = network.classifier
            assert isinstance(classifier[1], nn.Conv2d)
            head, fraction = self._head(self._squeezenet(network), "classifier.1", classifier[1], relu=classifier.relu)
        return IntegerPlan(tuple(self._feature_maps), (*self._steps, head), fraction, self._mirrored)

    def _squeezenet(self, network: SqueezeNet) -> int:
        layers = [(f"features.{name}", module) for name, module in network.features.named_children()]
        layers = [(name, module) for name, module in layers if not isinstance(module, nn.ReLU | nn.Identity)]
        current = 0
        while layers:
            name, module = layers.pop(0)
            pooled = bool(layers) and _is_fusible(module, layers[0][1])
            if pooled:
                layers.pop(0)
            if isinstance(module, nn.MaxPool2d):
                current = self._pool(current, int(module.kernel_size))  # type: ignore[arg-type]
            elif isinstance(module, Fire):
                current = self._fire(name, module, current, pooled)
            else:
                target = self._output_map(name, module, current, pooled=pooled)
                self._convolve(name, module, current, target, pooled=pooled)
                current = target
        return current

    def _staged(self, network: Staged) -> int:
        current = self._convolved("stem", network.stem, 0)
        for name, block in network.blocks.named_children():
            if isinstance(block, Plain):
                current = self._convolved(f"blocks.{name}.convolution", block.convolution, current)
            elif isinstance(block, SqueezeExpand):
                squeezed = self._convolved(f"blocks.{name}.squeeze", block.squeeze, current)
                current = self._added(f"blocks.{name}.expand", block.expand, squeezed, current if block.residual else None)
            elif isinstance(block, Inverted):
                expanded = self._convolved(f"blocks.{name}.expand", block.expand, current)
                filtered = self._convolved(f"blocks.{name}.depthwise", block.depthwise, expanded)
                low = self._spans[f"blocks.{name}.project"][0]
                current = self._added(f"blocks.{name}.project", block.project, filtered, current if block.residual else None, low)
            if isinstance(block, Plain | SqueezeExpand) and block.pool is not None:
                current = self._pool(current, int(block.pool.kernel_size))  # type: ignore[arg-type]
        while network.config.last == "max" and self._feature_maps[current].height > 1:
            # The largest of the largest is the largest of all.
            current = self._pool(current, 3)
        return current

    def _convolved(self, name: str, module: nn.Conv2d, source: int) -> int:
        """A convolution with ReLU behind it."""
        target = self._output_map(name, module, source)
        self._convolve(name, module, source, target)
        return target

    def _added(self, name: str, module: nn.Conv2d, source: int, residual: int | None, low: float = 0.0) -> int:
        """A convolution of outputs from `low` on, to which `residual`, of the same shape, is added if there is one."""
        if residual is None:
            target, added = self._output_map(name, module, source, low=low), None
        else:
            target, added = self._residual_sum(source, module.out_channels, self._spans[name][1], residual, False, low)
        self._convolve(name, module, source, target, residual=added, low=low)
        return target

    def _fire(self, name: str, fire: Fire, source: int, pooled: bool) -> int:
        residual = None
        if isinstance(fire.bypass, nn.Conv2d):
            below = self._spans[f"{name}.bypass"][0]
            residual = self._output_map(f"{name}.bypass", fire.bypass, source, low=below)
            self._convolve(f"{name}.bypass", fire.bypass, source, residual)
        elif fire.bypass is not None:
            residual = source
        gated = isinstance(fire, FireVariant) and fire.gated
        below = self._spans[f"{name}.squeeze"][0] if gated else 0.0
        squeezed = self._output_map(f"{name}.squeeze", fire.squeeze, source, low=below)
        self._convolve(f"{name}.squeeze", fire.squeeze, source, squeezed)
        if gated:
            squeezed = self._gate(squeezed)
        branches = {f"{name}.{kind}": branch for kind, branch in fire.expands().items()}
        high = max(self._spans[branch][1] for branch in branches)
        target, added = self._residual_sum(squeezed, fire.out_channels, high, residual, pooled)
        first = 0
        for branch, module in branches.items():
            self._convolve(branch, module, squeezed, target, first=first, pooled=pooled, residual=added)
            first += module.out_channels
        return target

    def _gate(self, source: int) -> int:
        """A sigmoid brings values of either sign closer to 0, so that the scale stays."""
        here = self._feature_maps[source]
        with np.errstate(over="ignore"):
            sigmoid = 1 / (1 + np.exp(-here.scale * (np.arange(256) - here.zero)))
        table = np.rint(255 * sigmoid).astype(np.uint8)
        self._feature_maps.append(replace(here, channels=here.channels // 2))
        self._steps.append(IntegerGating(source, len(self._feature_maps) - 1, here.zero, table))
        return len(self._feature_maps) - 1

    def _output_map(self, name: str, module: nn.Module, source: int, *, low: float = 0.0, pooled: bool = False) -> int:
        """A new feature map for a convolution's output, from `low` to the largest value seen."""
        assert isinstance(module, nn.Conv2d)
        stride, padding, kernel = module.stride[0], int(module.padding[0]), module.kernel_size[0]
        here = self._feature_maps[source]
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (here.height, here.width))
        return self._add_map(height, width, module.out_channels, low, self._spans[name][1], pooled)

    def _add_map(self, height: int, width: int, channels: int, low: float, high: float, pooled: bool) -> int:
        if pooled:
            height, width = -(-height // 2), -(-width // 2)
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255
        scale = scale if scale >= MIN_SCALE else 1.0
        self._feature_maps.append(FeatureMap(height, width, channels, scale, min(math.ceil(-low / scale), 255)))
        return len(self._feature_maps) - 1

    def _residual_sum(
        self, squeezed: int, channels: int, high: float, residual: int | None, pooled: bool, low: float = 0.0
    ) -> tuple[int, IntegerResidual | None]:
        """The feature map of a module's output: its last layer's, from `low` to `high`, and that of a residual added."""
        here = self._feature_maps[squeezed]
        if residual is None:
            return self._add_map(here.height, here.width, channels, 0, high, pooled), None
        other = self._feature_maps[residual]
        low, least, most = min(low, 0.0), -other.zero * other.scale, (255 - other.zero) * other.scale
        target = self._add_map(here.height, here.width, channels, low + least, high + most, pooled)
        total = self._feature_maps[target]
        ratio = other.scale / total.scale
        shift = min(int(math.log2(MAX_GAIN / ratio)), 16)
        gain = min(round(ratio * 2**shift), MAX_GAIN)
        # The target's zero point was rounded up, so this is not negative unless the gain was rounded up as well.
        zero = total.zero - _steps_below_zero(low, total)
        offset = max((zero << shift) - other.zero * gain + (1 << (shift - 1)), 0)
        return target, IntegerResidual(residual, gain, offset, shift)

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

    def _convolve(
        self,
        name: str,
        module: nn.Module,
        source: int,
        target: int,
        *,
        first: int = 0,
        pooled: bool = False,
        residual: IntegerResidual | None = None,
        low: float = 0.0,
    ) -> None:
        assert isinstance(module, nn.Conv2d)
        here, output = self._feature_maps[source], self._feature_maps[target]
        filters = self._filters(name, module, here.zero)
        if source == 0:
            filters = self._stem(filters, padded=int(module.padding[0]) > 0)
        steps = filters.steps(here.scale * MAX_SUM / 4)
        weights = filters.integers(steps)
        ratio = here.scale * steps / output.scale
        bias = filters.bias / (here.scale * steps) - here.zero * weights.astype(np.int64).sum((1, 2, 3))
        bias = bias + (output.zero if residual is None else _steps_below_zero(low, output)) / ratio
        # Before integers are made of it: too large ones would turn into any others.
        if not np.abs(bias).max() < MAX_SUM:
            raise _too_long(name)
        bias = np.rint(bias).astype(np.int64)
        gain, shift = _gains(ratio, sum_bounds(weights, bias), name)
        self._steps.append(
            IntegerConvolution(
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

    def _pool(self, source: int, size: int) -> int:
        here = self._feature_maps[source]
        # As in PyTorch with ceil_mode: windows that begin inside.
        height, width = (-(-(side - size) // 2) + 1 for side in (here.height, here.width))
        self._feature_maps.append(FeatureMap(height, width, here.channels, here.scale, here.zero))
        self._steps.append(IntegerPooling(source, len(self._feature_maps) - 1, size))
        return len(self._feature_maps) - 1

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


def _steps_below_zero(low: float, target: FeatureMap) -> int:
    """How many steps of a feature map values from `low` on need below zero."""
    return min(math.ceil(max(-low, 0.0) / target.scale), target.zero)


def _is_fusible(module: nn.Module, following: nn.Module) -> bool:
    """Whether a pooling can be computed with the layer before it: two by two, without overlap, no bypass in between."""
    pools = isinstance(following, nn.MaxPool2d) and following.kernel_size == 2
    return pools and not isinstance(module, nn.MaxPool2d) and getattr(module, "bypass", None) is None


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
