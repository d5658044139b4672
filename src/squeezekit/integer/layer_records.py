"""The layers of a plan as the C runtime reads them, one record each."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from ..system.errors import SqueezekitError
from .memory import Memory, row_bytes
from .plan import IntegerConvolution, IntegerHead, IntegerPlan, IntegerPooling, Step
from .stored_fields import MAX_CHANNELS

CONVOLUTION, POOLING, HEAD = range(3)
# `struct sqz_layer` of runtime.h, as compilers lay it out where words have their own size as alignment.
LAYER = struct.Struct("<16B16H8I")


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
    by_row: int = 0
    sparse: int = 0
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
    source_rows: int = 0
    out_rows: int = 0
    residual_rows: int = 0
    residual_gain: int = 0
    residual_below: int = 0
    until: int = 0
    row: int = 0
    source: int = 0
    target: int = 0
    residual: int = 0
    scratch: int = 0
    weights: int = 0
    filter: int = 0
    residual_offset: int = 0

    def fields(self) -> dict[str, int]:
        """Names and values, in the order of the struct."""
        return asdict(self)

    def packed(self) -> bytes:
        """The record in memory, low bytes first."""
        return LAYER.pack(*self.fields().values())


def records_of(
    plan: IntegerPlan, memory: Memory, stored: Callable[[int, IntegerConvolution | IntegerHead], dict[str, int]]
) -> tuple[LayerRecord, ...]:
    """A record for each step, feature maps as `memory` places them; `stored` says where the weights of
    a step, its number first, lie.

    Raises SqueezekitError where a feature map has more channels than 16 bits count.
    """
    if (widest := max(feature_map.channels for feature_map in plan.feature_maps)) > MAX_CHANNELS:
        raise SqueezekitError(f"a feature map of {widest:,} channels is too wide; train a network of at most {MAX_CHANNELS:,}")
    records, filters = list[LayerRecord](), 0
    for number, step in enumerate(plan.steps):
        shapes = _shapes(plan, step, memory)
        if isinstance(step, IntegerPooling):
            record = LayerRecord(POOLING, kernel=step.size, **shapes)
        else:
            indices = {**stored(number, step), "filter": filters, "scratch": memory.scratch.get(number, 0)}
            record = _record(plan, step, memory, {**shapes, **indices})
            filters += step.filters
        records.append(replace(record, **_turns(number, memory, len(plan.steps))))
    return tuple(records)


def _turns(number: int, memory: Memory, steps: int) -> dict[str, int]:
    """Whether a layer goes row by row, and before which layer those end whose weights are decoded with its own."""
    end = next((cut for cut in memory.cuts if cut > number), steps)
    return {"by_row": int(number in memory.by_row), "until": end if memory.weights else 0}


def _record(
    plan: IntegerPlan,
    step: IntegerConvolution | IntegerHead,
    memory: Memory,
    indices: dict[str, int],
) -> LayerRecord:
    if isinstance(step, IntegerHead):
        fields = {"shift": step.shift, "rectified": int(step.relu), "drop": step.drop, "filters": step.filters}
        return LayerRecord(HEAD, **indices, **fields, row=row_bytes(step))
    height, width = plan.sum_shape(step)
    residual = {}
    if step.residual:
        r = step.residual
        residual = {"residual": memory.offsets[r.source], "residual_gain": r.gain, "residual_offset": r.offset}
        residual |= {"residual_shift": r.shift, "residual_below": r.below}
        residual |= {"has_residual": 1, "residual_rows": memory.rows[r.source]}
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
        filters=step.filters,
        row=row_bytes(step),
        **indices,
        **residual,
    )


def _shapes(plan: IntegerPlan, step: Step, memory: Memory) -> dict[str, int]:
    """Shape, rows that are kept and offset of a layer's source and, but for the head, of its target."""
    source = plan.feature_maps[step.source]
    fields = {"height": source.height, "width": source.width, "channels": source.channels}
    fields |= {"source": memory.offsets[step.source], "source_rows": memory.rows[step.source]}
    if isinstance(step, IntegerHead):
        return fields
    target = plan.feature_maps[step.target]
    fields |= {"out_height": target.height, "out_width": target.width, "out_channels": target.channels}
    return fields | {"target": memory.offsets[step.target], "out_rows": memory.rows[step.target]}
