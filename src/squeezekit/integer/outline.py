"""What a network takes as C, from its configuration alone: sizes depend on shapes, not on weights or ranges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from math import prod

import numpy as np
from numpy.typing import NDArray

from squeezekit.integer.memory import MemoryOfOrders, MemoryPlanner
from squeezekit.integer.parts import Shape
from squeezekit.integer.plan import IntegerPlan
from squeezekit.integer.plan_builder import Rounded, build_plan
from squeezekit.integer.quantizer import flat_head, no_integer_form
from squeezekit.integer.structure import structure_of
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.registry import NETWORKS, OURS
from squeezekit.networks.without_memory import without_memory
from squeezekit.system.errors import SqueezekitError


class NoIntegerForm(SqueezekitError):
    """A network that the planner of RAM and flash does not know; half a sentence says why."""


def outline_of(config: NetworkConfig) -> IntegerPlan:
    """The plan of such a network in which every number of a weight, bias, gain or range is made up, and only shapes are true.

    Batch normalization counts as folded. Raises NoIntegerForm for a network with a layer that has no integer form.
    """
    # A network of the user's own may need memory to be built.
    with without_memory() if type(config) in {NETWORKS[name][0] for name in OURS} else nullcontext():
        network = config.folded().build()
    if problem := no_integer_form(network):
        raise NoIntegerForm(problem)
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    structure = structure_of(config.folded().model_dump(mode="json"), shapes)
    return flat_head(build_plan(structure, _Outlines(shapes), defaultdict(lambda: (0.0, 1.0))))


def ram_of(config: NetworkConfig) -> MemoryOfOrders:
    """Bytes of RAM that the feature maps of such a network take as C; raises NoIntegerForm."""
    return MemoryPlanner(outline_of(config)).orders()


class _Outlines:
    """Arrays of numbers that are made up, of weights zeros that take no memory; see `plan_builder.Arrays`."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes

    def filters(self, name: str) -> _OutlinedFilters:
        return _OutlinedFilters(self._shapes[f"{name}.weight"])

    def integers(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        return np.array(numbers, np.int64)

    def bytes(self, numbers: Sequence[int]) -> NDArray[np.uint8]:
        return np.array(numbers, np.uint8)


class _OutlinedFilters:
    """Filters of magnitude 1, which are rounded to zeros."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.bias, self.grid = [0.0] * shape[0], [0.0] * shape[0]

    def values(self) -> list[float]:
        return [0.0] * prod(self._shape)

    def largest(self, divisors: Sequence[float] | None) -> list[float]:
        return [1.0] * self._shape[0]

    def rounded(self, steps: Sequence[float], divisors: Sequence[float] | None) -> Rounded:
        filters, channels, *kernel = (*self._shape, 1, 1)[:4]
        none = [0] * filters
        return Rounded(np.broadcast_to(np.int8(0), (filters, *kernel, channels)), none, none)
