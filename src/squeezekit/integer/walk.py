"""The steps of a network in integers, found from its layers; their numbers are left to whoever walks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from squeezekit.integer.plan import (
    MAX_GAIN,
    FeatureMap,
    IntegerConvolution,
    IntegerGating,
    IntegerHead,
    IntegerPlan,
    IntegerPooling,
    IntegerResidual,
    Integers,
    Step,
)
from squeezekit.networks.fire import Fire
from squeezekit.networks.fire_variants import FireVariant
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.networks.staged import Inverted, Plain, SqueezeExpand, Staged

MIN_SCALE = 1e-9  # A feature map of smaller steps holds nothing but zeros.
# What a plan can hold, alone or in a container.
LAYERS = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Dropout, nn.Identity)
CONTAINERS = (nn.Sequential, Fire)
# Networks that have a plan.
Planned = SqueezeNet | Staged


def no_integer_form(network: nn.Module) -> str | None:
    """Why a network has no plan, in half a sentence that names its first layer without an integer form; None where it has one."""
    if isinstance(network, Planned):
        return None
    found = _first_unsupported(network)
    what = f"layer '{found[0]}' ({type(found[1]).__name__})" if found else f"a {type(network).__name__}"
    return f"{what} has no integer form"


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
class Numbers:
    """Those of a convolution, as `IntegerConvolution` has them."""

    weights: NDArray[np.int8]
    bias: Integers
    gain: Integers
    shift: int
    border: tuple[int, ...]


class Walk(ABC):
    """Walks through a network without batch normalization and collects its feature maps and steps."""

    def __init__(self, network: Planned) -> None:
        config = network.config
        self._network, self._config = network, config
        self._feature_maps = [FeatureMap(config.image_size, config.image_size, config.channels, 1.0)]
        self._mirrored = bool(getattr(config, "mirrored", False))
        self._steps: list[Step] = []

    @abstractmethod
    def _span(self, name: str) -> tuple[float, float]:
        """The smallest and the largest value that the convolution of that name puts out."""

    @abstractmethod
    def _numbers(
        self, name: str, module: nn.Conv2d, source: int, target: int, residual: IntegerResidual | None, low: float
    ) -> Numbers:
        """Those of the convolution of that name, between two feature maps; its values are from `low` on."""

    @abstractmethod
    def _head(self, source: int, name: str, layer: nn.Conv2d | nn.Linear, *, relu: bool = False) -> tuple[IntegerHead, int]:
        """The head, and how many bits of its logits are a fraction."""

    def plan(self) -> IntegerPlan:
        """All of it."""
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
                low = self._span(f"blocks.{name}.project")[0]
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
            target, added = self._residual_sum(source, module.out_channels, self._span(name)[1], residual, False, low)
        self._convolve(name, module, source, target, residual=added, low=low)
        return target

    def _fire(self, name: str, fire: Fire, source: int, pooled: bool) -> int:
        residual = None
        if isinstance(fire.bypass, nn.Conv2d):
            below = self._span(f"{name}.bypass")[0]
            residual = self._output_map(f"{name}.bypass", fire.bypass, source, low=below)
            self._convolve(f"{name}.bypass", fire.bypass, source, residual)
        elif fire.bypass is not None:
            residual = source
        gated = isinstance(fire, FireVariant) and fire.gated
        below = self._span(f"{name}.squeeze")[0] if gated else 0.0
        squeezed = self._output_map(f"{name}.squeeze", fire.squeeze, source, low=below)
        self._convolve(f"{name}.squeeze", fire.squeeze, source, squeezed)
        if gated:
            squeezed = self._gate(squeezed)
        branches = {f"{name}.{kind}": branch for kind, branch in fire.expands().items()}
        high = max(self._span(branch)[1] for branch in branches)
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
        return self._add_map(height, width, module.out_channels, low, self._span(name)[1], pooled)

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
        zero = total.zero - steps_below_zero(low, total)
        offset = max((zero << shift) - other.zero * gain + (1 << (shift - 1)), 0)
        return target, IntegerResidual(residual, gain, offset, shift)

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
        numbers = self._numbers(name, module, source, target, residual, low)
        self._steps.append(
            IntegerConvolution(
                source,
                target,
                numbers.weights,
                numbers.bias,
                numbers.gain,
                numbers.shift,
                numbers.border,
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


def steps_below_zero(low: float, target: FeatureMap) -> int:
    """How many steps of a feature map values from `low` on need below zero."""
    return min(math.ceil(max(-low, 0.0) / target.scale), target.zero)


def _is_fusible(module: nn.Module, following: nn.Module) -> bool:
    """Whether a pooling can be computed with the layer before it: two by two, without overlap, no bypass in between."""
    pools = isinstance(following, nn.MaxPool2d) and following.kernel_size == 2
    return pools and not isinstance(module, nn.MaxPool2d) and getattr(module, "bypass", None) is None
