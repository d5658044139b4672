"""What an exported network takes of flash and RAM: its tables, and its weights in the form in which they are stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from squeezekit.codec.integer_model import code_integers, new_integer_model
from squeezekit.codec.range_coder import encoder, finish
from squeezekit.integer.layer_records import CONVOLUTION, LAYER
from squeezekit.integer.layout import Layout, layout_of
from squeezekit.integer.memory import Memory, MemoryOfOrders, MemoryPlanner, weight_bytes
from squeezekit.integer.plan import IntegerConvolution, IntegerHead, IntegerPlan
from squeezekit.system.errors import SqueezekitError

StoreWeights = Literal["dense", "sparse", "coded"]
UNIT = 16  # Filters that products.c packs together, at most.
MAX_BIT_COST = 11  # In bits of the stream: what the least likely bit of a weight costs.
# About what the runtime takes on a Cortex-M with gcc and `-Os`, where weights are coded, and where they are constants.
CODE_BYTES, CODE_BYTES_WITHOUT_DECODER, STACK_BYTES = 5_000, 3_500, 1_500
# Instructions of a Cortex-M4 for each weight, and for each bit that is predicted of it, fitted to benchmarks/instructions.py.
PER_WEIGHT, PER_BIT = 60, 530
# Bytes of `struct sqz_decoder` of decoder.c on a processor of 32 bits, without its averages of columns and of channels.
DECODER_BYTES = 20 + 4 * 7 * 6 + 2 * 10693 + 2 * 4096 + 10693


@dataclass(frozen=True)
class DecodedWeights:
    """Bytes of variables where all weights are decoded `at_start`, and where those of one of so many `parts` of the network are
    at a time, anew for each picture, `in_parts`; for that some `instructions` are executed on a Cortex-M4.
    """

    at_start: int
    in_parts: int
    parts: int
    instructions: int

    @property
    def done_in_parts(self) -> bool:
        """Whether that takes less."""
        return self.in_parts < self.at_start

    def in_words(self) -> str:
        """Which of them is done, why, and what it costs."""
        if not self.done_in_parts:
            return (
                f"all weights are decoded once, at the start; RAM: {self.at_start:,} bytes "
                f"(one part of the network after the other would take {self.in_parts:,})"
            )
        return (
            f"the weights of one of {self.parts} parts of the network after the other are decoded, anew for each picture: about "
            f"{self.instructions / 1e6:.1f} million instructions of a Cortex-M4; RAM: {self.in_parts:,} bytes "
            f"(all weights at the start would take {self.at_start:,})"
        )


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of constants in flash and of variables in RAM, without code, stack, and the packed weights of builds with vectors.

    `arena` holds the feature maps; `least_arena` is what no placement of them can go below in their order, `orders` what arenas
    other orders need. `decoded` says how weights that are coded become those that are multiplied.
    """

    constants: int
    variables: int
    arena: int
    least_arena: int
    orders: MemoryOfOrders
    decoded: DecodedWeights | None


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

    Coded weights are decoded all at the start, or those of one part of the network at a time, whichever takes less RAM. A
    `planner` of that plan may know these already. Raises SqueezekitError where none fits, and for a `max_ram` of coded weights.
    """
    check_max_ram(store_weights, max_ram)
    planner = planner or MemoryPlanner(plan)
    memory = planner.least() if max_ram is None else planner.fitting(max_ram)
    decoded, stream = None, b""
    if store_weights == "coded":
        in_parts = planner.least(decoded=True)
        decoded, stream = _decoded(plan, memory, in_parts), coded_weights(plan)
        memory = in_parts if decoded.done_in_parts else memory
    layout = layout_of(plan, memory, sparse=store_weights == "sparse")
    return Tables(layout, stream, _memory(layout, stream, planner.orders(), decoded))


def check_max_ram(store_weights: StoreWeights, max_ram: int | None) -> None:
    """Raises SqueezekitError for coded weights, which take the order of the least RAM anyway."""
    if store_weights == "coded" and max_ram is not None:
        raise SqueezekitError(f"--max-ram {max_ram}: coded weights take the order of the least RAM; leave it out")


def coded_weights(plan: IntegerPlan) -> bytes:
    """Every layer's integers, filter by filter and channel by channel, as a `.sqz` file codes them."""
    layers = [step.weights for step in plan.steps if isinstance(step, IntegerConvolution | IntegerHead)]
    coder, learnt = encoder(sum(layer.size for layer in layers) * 15 * MAX_BIT_COST // 8 + 8), new_integer_model()
    for layer in layers:
        channels_last = layer.reshape(layer.shape[0], -1, layer.shape[-1]).astype(np.int64)
        integers = np.ascontiguousarray(channels_last.transpose(0, 2, 1))
        code_integers(coder, learnt, integers, int(np.abs(integers).max()).bit_length())
    return finish(coder)


def _decoded(plan: IntegerPlan, memory: Memory, in_parts: Memory) -> DecodedWeights:
    """Both ways, with their feature maps in these orders."""
    decoder = DECODER_BYTES + 2 * sum(largest(plan))
    at_start = sum(map(weight_bytes, plan.steps)) + max(memory.arena.bytes, decoder)
    return DecodedWeights(at_start, in_parts.arena.bytes + decoder, len(in_parts.cuts), _decoding_instructions(plan))


def _decoding_instructions(plan: IntegerPlan) -> int:
    """About what a Cortex-M4 executes to decode all weights once."""
    weights = mixed = 0
    for step in plan.steps:
        if isinstance(step, IntegerConvolution | IntegerHead):
            lengths = np.frexp(np.abs(step.weights.astype(np.float64)))[1]
            weights += lengths.size
            mixed += int(np.minimum(lengths + 1, lengths.max()).sum())
    return (2 if plan.mirrored else 1) * (PER_WEIGHT * weights + PER_BIT * mixed)


def _memory(layout: Layout, stream: bytes, orders: MemoryOfOrders, decoded: DecodedWeights | None) -> MemoryUse:
    tables = 4 * len(layout.biases) + 2 * len(layout.gains) + 4 * len(layout.head_gains)
    tables += LAYER.size * len(layout.layers) + len(layout.order)
    arena, least = layout.arena.bytes, layout.arena.least
    if decoded is None:
        return MemoryUse(tables + len(layout.weights) + len(layout.runs), arena, arena, least, orders, None)
    variables = min(decoded.at_start, decoded.in_parts)
    return MemoryUse(tables + len(stream) + 2 * 2048, variables, arena, least, orders, decoded)


def largest(plan: IntegerPlan) -> tuple[int, int]:
    """Weights of the longest filter, and channels of the widest layer."""
    shapes = [step.weights.shape for step in plan.steps if isinstance(step, IntegerConvolution | IntegerHead)]
    return max(prod(shape[1:]) for shape in shapes), max(shape[-1] for shape in shapes)


def packed_bytes(layout: Layout) -> int:
    """Room for the weights of convolutions that are there at once, as products.c packs them, by the largest of its units."""
    sizes = Counter[int]()
    for layer in layout.layers:
        if layer.kind == CONVOLUTION and not layer.depthwise and not layer.sparse:
            sizes[layer.until] += -(-layer.filters // UNIT) * UNIT * -(-layer.row // 4) * 4
    return max(sizes.values(), default=0)
