"""A plan as the tables that the C runtime reads: layers, weights, biases, gains, and offsets of feature maps in the arena."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from squeezekit.integer.plan import IntegerConvolution, IntegerGating, IntegerHead, IntegerPlan, IntegerPooling, Integers, Step
from squeezekit.integer.planner import Arena, ArenaBlock, place_blocks
from squeezekit.system.errors import SqueezekitError

TILE = 4  # Positions that the runtime computes together.
# What 16 bits of `struct sqz_layer` count.
MAX_CHANNELS = (1 << 16) - 1
CONVOLUTION, POOLING, HEAD, GATING = range(4)


@dataclass(frozen=True)
class LayerRecord:
    """One `struct sqz_layer` of runtime.h, field by field."""

    kind: int
    from_picture: int = 0
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    pooled: int = 0
    rectified: int = 0
    has_residual: int = 0
    shift: int = 0
    residual_shift: int = 0
    drop: int = 0
    bits: int = 0
    depthwise: int = 0
    zero: int = 0
    height: int = 0
    width: int = 0
    channels: int = 0
    sums_height: int = 0
    sums_width: int = 0
    out_height: int = 0
    out_width: int = 0
    out_channels: int = 0
    first: int = 0
    filters: int = 0
    row: int = 0
    source: int = 0
    target: int = 0
    residual: int = 0
    scratch: int = 0
    weights: int = 0
    filter: int = 0
    residual_gain: int = 0
    residual_offset: int = 0

    def fields(self) -> dict[str, int]:
        """Names and values, in the order of the struct."""
        return asdict(self)


@dataclass(frozen=True)
class Layout:
    """All tables of one network: what the runtime is given."""

    layers: tuple[LayerRecord, ...]
    weights: NDArray[np.int8]
    biases: Integers
    gains: Integers
    head_gains: Integers
    gates: NDArray[np.uint8]
    border: tuple[int, ...]
    arena: Arena


def layout_of(plan: IntegerPlan) -> Layout:
    """Rows of weights one after another, feature maps in the smallest arena; raises SqueezekitError where there is none.

    Also where a feature map has more channels than 16 bits count.
    """
    if (widest := max(feature_map.channels for feature_map in plan.feature_maps)) > MAX_CHANNELS:
        raise SqueezekitError(f"a feature map of {widest:,} channels is too wide; train a network of at most {MAX_CHANNELS:,}")
    arena, offsets, scratch = _memory(plan)
    layers, weights, biases, gains = [], [], [], []
    first_weight = first_filter = 0
    gates = np.empty(0, np.uint8)
    for number, step in enumerate(plan.steps):
        if isinstance(step, IntegerPooling):
            layers.append(LayerRecord(POOLING, kernel=step.size, **_shapes(plan, step, offsets)))
            continue
        if isinstance(step, IntegerGating):
            layers.append(LayerRecord(GATING, zero=step.zero, weights=len(gates), **_shapes(plan, step, offsets)))
            gates = np.append(gates, step.table)
            continue
        indices = {"weights": first_weight, "filter": first_filter, "scratch": scratch.get(number, 0)}
        layers.append(_record(plan, step, offsets, indices))
        rows = _rows(step)
        weights.append(rows.ravel())
        biases.append(step.bias)
        first_weight, first_filter = first_weight + rows.size, first_filter + len(step.weights)
        if isinstance(step, IntegerConvolution):
            gains.append(step.gain)
    head, stem = plan.steps[-1], plan.steps[0]
    assert isinstance(head, IntegerHead) and isinstance(stem, IntegerConvolution)
    return Layout(
        tuple(layers),
        np.concatenate(weights),
        np.concatenate(biases),
        np.concatenate(gains),
        head.gain,
        gates,
        stem.border,
        arena,
    )


def row_bytes(step: IntegerConvolution | IntegerHead) -> int:
    """From one filter's weights to the next: with zeros behind them where that makes whole vectors of little more.

    Of depthwise filters, which lie beside each other, from those of one tap to those of the next.
    """
    if isinstance(step, IntegerConvolution) and step.depthwise:
        return len(step.weights)
    length = int(step.weights[0].size)
    if isinstance(step, IntegerHead):
        return length
    for unit, share in ((32, 8), (16, 4)):
        whole = -(-length // unit) * unit
        if (whole - length) * share <= length:
            return whole
    return length


def _rows(step: IntegerConvolution | IntegerHead) -> NDArray[np.int8]:
    flat = step.weights.reshape(len(step.weights), -1)
    if isinstance(step, IntegerConvolution) and step.depthwise:
        return np.ascontiguousarray(flat.T)
    rows = np.zeros((len(flat), row_bytes(step)), np.int8)
    rows[:, : flat.shape[1]] = flat
    return rows


def _bytes_under_filter(step: IntegerConvolution) -> int:
    """What is gathered for one position."""
    return step.kernel**2 * len(step.weights) if step.depthwise else row_bytes(step)


def _gathers(plan: IntegerPlan, step: Step) -> bool:
    """Whether the bytes under the filter have to be gathered first."""
    if not isinstance(step, IntegerConvolution):
        return False
    return step.source == 0 or step.kernel > 1 or row_bytes(step) > plan.feature_maps[step.source].channels


def _memory(plan: IntegerPlan) -> tuple[Arena, list[int], dict[int, int]]:
    """The arena, the offset of each feature map in it, and by step that of the buffer for bytes under filters.

    The image stays where the caller has it. Pooling, gating and the adding of a bypass work in place.
    """
    blocks, block_of = _blocks(plan)
    gathering = [number for number, step in enumerate(plan.steps) if _gathers(plan, step)]
    buffers = {number: len(blocks) + i for i, number in enumerate(gathering)}
    for number in buffers:
        step = plan.steps[number]
        assert isinstance(step, IntegerConvolution)
        blocks.append(ArenaBlock.of(TILE * _bytes_under_filter(step), number, number))
    arena = place_blocks(blocks)
    offsets = [0] + [arena.offsets[block_of[number]] for number in range(1, len(plan.feature_maps))]
    return arena, offsets, {number: arena.offsets[block] for number, block in buffers.items()}


def _blocks(plan: IntegerPlan) -> tuple[list[ArenaBlock], dict[int, int]]:
    """The blocks of the feature maps, and the block of each: those of steps that work in place share one."""
    begin, end, in_place_of = dict[int, int](), dict[int, int](), dict[int, int]()
    for number, step in enumerate(plan.steps):
        residual = step.residual.source if isinstance(step, IntegerConvolution) and step.residual else None
        for source in (step.source, residual):
            if source:
                end[source] = number
        if not isinstance(step, IntegerHead):
            begin.setdefault(step.target, number)
            in_place = step.source if isinstance(step, IntegerPooling | IntegerGating) else residual
            if in_place:
                in_place_of[step.target] = in_place
    blocks: list[ArenaBlock] = []
    block_of: dict[int, int] = {}
    for number in range(1, len(plan.feature_maps)):
        block = ArenaBlock.of(plan.feature_maps[number].bytes, begin[number], end[number])
        if number in in_place_of:
            block_of[number] = block_of[in_place_of[number]]
            blocks[block_of[number]] = blocks[block_of[number]].merged(block)
        else:
            block_of[number] = len(blocks)
            blocks.append(block)
    return blocks, block_of


def _record(
    plan: IntegerPlan, step: IntegerConvolution | IntegerHead, offsets: list[int], indices: dict[str, int]
) -> LayerRecord:
    indices = {**indices, "bits": int(np.abs(step.weights.astype(np.int64)).max()).bit_length()}
    if isinstance(step, IntegerHead):
        fields = {"shift": step.shift, "rectified": int(step.relu), "drop": step.drop, "filters": len(step.weights)}
        return LayerRecord(HEAD, **_shapes(plan, step, offsets), **indices, **fields, row=row_bytes(step))
    height, width = plan.sum_shape(step)
    residual = {}
    if step.residual:
        r = step.residual
        residual = {"residual": offsets[r.source], "residual_gain": r.gain, "residual_offset": r.offset}
        residual |= {"residual_shift": r.shift, "has_residual": 1}
    return LayerRecord(
        CONVOLUTION,
        int(step.source == 0),
        step.kernel,
        step.stride,
        step.padding,
        int(step.pooled),
        shift=step.shift,
        depthwise=int(step.depthwise),
        zero=step.border[0] if step.source else 0,
        sums_height=height,
        sums_width=width,
        first=step.first,
        filters=len(step.weights),
        row=row_bytes(step),
        **_shapes(plan, step, offsets),
        **indices,
        **residual,
    )


def _shapes(plan: IntegerPlan, step: Step, offsets: list[int]) -> dict[str, int]:
    """Shape and offset of a layer's source and, but for the head, of its target."""
    source = plan.feature_maps[step.source]
    fields = {"height": source.height, "width": source.width, "channels": source.channels, "source": offsets[step.source]}
    if isinstance(step, IntegerHead):
        return fields
    target = plan.feature_maps[step.target]
    fields |= {"out_height": target.height, "out_width": target.width, "out_channels": target.channels}
    return fields | {"target": offsets[step.target]}
