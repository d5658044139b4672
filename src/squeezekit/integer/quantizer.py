"""From a trained network in PyTorch to its plan in integers, its weights rounded by NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from squeezekit.codec.encodings import Quantized
from squeezekit.integer.plan import IntegerHead, IntegerPlan
from squeezekit.integer.plan_builder import MAX_WEIGHT, Rounded, build_plan
from squeezekit.integer.structure import structure_of
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.networks.fire import Fire
from squeezekit.networks.graph import GraphNetwork
from squeezekit.networks.resnet import ResNet
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.networks.staged import Staged
from squeezekit.networks.without_memory import without_memory
from squeezekit.system.errors import SqueezekitError

# What a plan can hold, alone or in a container.
LAYERS = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Dropout, nn.Identity)
CONTAINERS = (nn.Sequential, Fire)
# Networks that have a plan; of graphs and ResNets not all do.
Planned = SqueezeNet | Staged | GraphNetwork | ResNet
Floats = NDArray[np.float64]


def plan_of(
    network: Planned,
    ranges: ActivationRanges,
    grids: Mapping[str, Quantized] | None = None,
    names: Sequence[str] | None = None,
) -> IntegerPlan:
    """The plan of a network whose batch normalization is folded.

    `ranges` are those of its convolutions' outputs on images, in the order of `names`, by default the network's own; `grids`, by
    parameter name, are the quantized weights of a file.
    Raises SqueezekitError for a network whose sums may not fit 32 bits, or a mean that no byte stands for.
    """
    names = names or [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    spans = {name: span for name, *span in zip(names, ranges.low, ranges.high, strict=True)}
    parameters = {name: parameter.detach().numpy() for name, parameter in network.named_parameters()}
    structure = structure_of(network.config.model_dump(mode="json"), {name: each.shape for name, each in parameters.items()})
    return flat_head(build_plan(structure, _NumpyArrays(parameters, grids or {}), spans))


def flat_head(plan: IntegerPlan) -> IntegerPlan:
    """The plan with the weights of its head as a matrix [classes, channels], without a side of one tap."""
    *steps, head = plan.steps
    assert isinstance(head, IntegerHead)
    return replace(plan, steps=(*steps, replace(head, weights=head.weights.reshape(len(head.weights), -1))))


def no_integer_form(network: nn.Module) -> str | None:
    """Why a network has no plan, in half a sentence that names its first layer without an integer form; None where it has one."""
    if isinstance(network, GraphNetwork | ResNet):
        return _without_structure(network)
    if isinstance(network, Planned):
        return None
    found = _first_unsupported(network)
    what = f"layer '{found[0]}' ({type(found[1]).__name__})" if found else f"a {type(network).__name__}"
    return f"{what} has no integer form"


def _without_structure(network: GraphNetwork | ResNet) -> str | None:
    config = network.config.folded()
    with without_memory():
        shapes = {name: tuple(parameter.shape) for name, parameter in config.build().named_parameters()}
    try:
        structure_of(config.model_dump(mode="json"), shapes)
    except SqueezekitError as error:
        return str(error).partition(";")[0]
    return None


def _first_unsupported(parent: nn.Module, prefix: str = "") -> tuple[str, nn.Module] | None:
    for name, module in parent.named_children():
        if isinstance(module, LAYERS):
            continue
        if found := _first_unsupported(module, f"{prefix}{name}."):
            return found
        if not isinstance(module, CONTAINERS):
            return f"{prefix}{name}", module
    return None


class _NumpyArrays:
    """The parameters of a network by name, and the grids that those of a file lie on."""

    def __init__(self, parameters: Mapping[str, NDArray[np.float32]], grids: Mapping[str, Quantized]) -> None:
        self._parameters, self._grids = parameters, grids

    def filters(self, name: str) -> _NumpyFilters:
        weights, bias = (self._parameters[f"{name}.{kind}"].astype(np.float64) for kind in ("weight", "bias"))
        weights = weights.reshape(*weights.shape[:2], *(weights.shape[2:] or (1, 1)))
        return _NumpyFilters(weights, bias, self._grids.get(f"{name}.weight"))

    def integers(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        return np.array(numbers, np.int64)


class _NumpyFilters:
    """Weights [filters, in, kernel, kernel] and biases [filters] in doubles."""

    def __init__(self, weights: Floats, bias: Floats, known: Quantized | None) -> None:
        self._weights, self.bias = weights, bias.tolist()
        grid = np.zeros(len(weights))
        if known is not None:
            small = np.abs(known.integers).reshape(len(weights), -1).max(1) <= MAX_WEIGHT
            grid = np.where(small, known.scales.astype(np.float64), 0)
        self.grid = grid.tolist()

    def values(self) -> list[float]:
        values: list[float] = self._weights.ravel().tolist()
        return values

    def largest(self, divisors: Sequence[float] | None) -> list[float]:
        found: list[float] = np.abs(self._divided(divisors)).max((1, 2, 3)).tolist()
        return found

    def rounded(self, steps: Sequence[float], divisors: Sequence[float] | None) -> Rounded:
        in_steps = np.rint(self._divided(divisors) / np.array(steps)[:, None, None, None])
        integers = np.clip(in_steps, -MAX_WEIGHT, MAX_WEIGHT).transpose(0, 2, 3, 1).astype(np.int64)
        sums, magnitudes = (each.sum((1, 2, 3)).tolist() for each in (integers, np.abs(integers)))
        return Rounded(np.ascontiguousarray(integers.astype(np.int8)), sums, magnitudes)

    def _divided(self, divisors: Sequence[float] | None) -> Floats:
        return self._weights if divisors is None else self._weights / np.array(divisors)[:, None, None]
