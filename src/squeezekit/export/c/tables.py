"""What an exported network takes of flash and RAM: its tables, and its weights in the form in which they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from squeezekit.codec.integer_model import code_integers, new_integer_model
from squeezekit.codec.range_coder import encoder, finish
from squeezekit.integer.layout import CONVOLUTION, Layout, layout_of
from squeezekit.integer.memory import MemoryOfOrders, MemoryPlanner
from squeezekit.integer.plan import IntegerConvolution, IntegerHead, IntegerPlan

StoreWeights = Literal["constants", "sparse", "coded"]
LAYER_BYTES = 80  # sizeof(struct sqz_layer)
UNIT = 16  # Filters that products.c packs together, at most.
MAX_BIT_COST = 11  # In bits of the stream: what the least likely bit of a weight costs.
# About what the runtime takes on a Cortex-M with `-Os`.
CODE_BYTES, STACK_BYTES = 5_000, 1_500


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of constants in flash and of variables in RAM, without code, stack, and the packed weights of builds with vectors.

    `arena` holds the feature maps; `least_arena` is what no placement of them can go below in their order, `orders` what arenas
    other orders need.
    """

    constants: int
    variables: int
    arena: int
    least_arena: int
    orders: MemoryOfOrders


@dataclass(frozen=True)
class Tables:
    """What C is given of a network, and what that takes; `stream` are coded weights, empty where weights are constants."""

    layout: Layout
    stream: bytes
    memory: MemoryUse


def tables_of(
    plan: IntegerPlan, *, store_weights: StoreWeights, max_ram: int | None = None, planner: MemoryPlanner | None = None
) -> Tables:
    """Those of a plan whose feature maps take the fewest bytes, or with `max_ram` at most these and most layers whole.

    A `planner` of that plan may know these already. Raises SqueezekitError where none fits.
    """
    planner = planner or MemoryPlanner(plan)
    memory = planner.least() if max_ram is None else planner.fitting(max_ram)
    layout = layout_of(plan, memory, sparse=store_weights == "sparse")
    stream = coded_weights(plan) if store_weights == "coded" else b""
    return Tables(layout, stream, _memory(layout, plan, stream, planner.orders()))


def coded_weights(plan: IntegerPlan) -> bytes:
    """Every layer's integers, filter by filter and channel by channel, as a `.sqz` file codes them."""
    layers = [step.weights for step in plan.steps if isinstance(step, IntegerConvolution | IntegerHead)]
    coder, learnt = encoder(sum(layer.size for layer in layers) * 15 * MAX_BIT_COST // 8 + 8), new_integer_model()
    for layer in layers:
        channels_last = layer.reshape(layer.shape[0], -1, layer.shape[-1]).astype(np.int64)
        integers = np.ascontiguousarray(channels_last.transpose(0, 2, 1))
        code_integers(coder, learnt, integers, int(np.abs(integers).max()).bit_length())
    return finish(coder)


def _memory(layout: Layout, plan: IntegerPlan, stream: bytes, orders: MemoryOfOrders) -> MemoryUse:
    tables = 4 * len(layout.biases) + 2 * len(layout.gains) + 4 * len(layout.head_gains) + len(layout.gates)
    tables += LAYER_BYTES * len(layout.layers) + len(layout.order)
    arena, least = layout.arena.bytes, layout.arena.least
    if not stream:
        return MemoryUse(tables + len(layout.weights) + len(layout.runs), arena, arena, least, orders)
    most_row, most_channels = largest(plan)
    # The decoder's memory, `struct sqz_decoder` of decoder.c, lies where the feature maps will be.
    decoder = 16 + 4 * 7 * 6 + 12 + 2 * 10693 + 2 * (most_row + most_channels) + 2 * 4096 + 10693
    return MemoryUse(tables + len(stream) + 2 * 2048, len(layout.weights) + max(arena, decoder), arena, least, orders)


def largest(plan: IntegerPlan) -> tuple[int, int]:
    """Weights of the longest filter, and channels of the widest layer."""
    shapes = [step.weights.shape for step in plan.steps if isinstance(step, IntegerConvolution | IntegerHead)]
    return max(prod(shape[1:]) for shape in shapes), max(shape[-1] for shape in shapes)


def packed_bytes(layout: Layout) -> int:
    """Room for the weights of convolutions as products.c packs them, by the largest of its units."""
    dense = (layer for layer in layout.layers if layer.kind == CONVOLUTION and not layer.depthwise and not layer.sparse)
    return sum(-(-layer.filters // UNIT) * UNIT * -(-layer.row // 4) * 4 for layer in dense)
