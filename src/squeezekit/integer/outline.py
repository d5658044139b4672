"""What a network takes as C, from its configuration alone: sizes depend on shapes, not on weights or ranges."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
from torch import nn

from squeezekit.integer.memory import MemoryOfOrders, MemoryPlanner
from squeezekit.integer.plan import IntegerHead, IntegerPlan, IntegerResidual, Integers
from squeezekit.integer.walk import Numbers, Planned, Walk, no_integer_form
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
    assert isinstance(network, Planned)
    return _Outline(network).plan()


def ram_of(config: NetworkConfig) -> MemoryOfOrders:
    """Bytes of RAM that the feature maps of such a network take as C; raises NoIntegerForm."""
    return MemoryPlanner(outline_of(config)).orders()


class _Outline(Walk):
    """Gives steps zeros, which take no memory."""

    def _span(self, name: str) -> tuple[float, float]:
        return 0.0, 1.0

    def _numbers(
        self, name: str, module: nn.Conv2d, source: int, target: int, residual: IntegerResidual | None, low: float
    ) -> Numbers:
        filters, channels, *kernel = module.weight.shape
        weights, border = np.broadcast_to(np.int8(0), (filters, *kernel, channels)), (0,) * module.in_channels
        return Numbers(weights, _zeros(filters), _zeros(filters), 1, border)

    def _head(self, source: int, name: str, layer: nn.Conv2d | nn.Linear, *, relu: bool = False) -> tuple[IntegerHead, int]:
        classes, channels = layer.weight.shape[:2]
        weights = np.broadcast_to(np.int8(0), (classes, channels))
        return IntegerHead(source, weights, _zeros(classes), _zeros(classes), 1, relu), 0


def _zeros(count: int) -> Integers:
    return np.broadcast_to(np.int64(0), count)
