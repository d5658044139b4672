"""A plan as the tables that the C runtime reads: layers, weights, biases, gains, and offsets of feature maps in the arena."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from squeezekit.integer.memory import Memory, MemoryPlanner, row_bytes
from squeezekit.integer.plan import IntegerConvolution, IntegerGating, IntegerHead, IntegerPlan, IntegerPooling, Integers, Step
from squeezekit.integer.planner import Arena
from squeezekit.integer.sparse_weights import runs_of
from squeezekit.system.errors import SqueezekitError

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
    until: int = 0
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
    """All tables of one network: what the runtime is given.

    `runs` are the weights of layers that are `sparse`, `weights` those of all others, `in_arena` if they are decoded there, those
    of one segment of steps at a time. `macs` multiply-adds are done for an image.
    """

    layers: tuple[LayerRecord, ...]
    weights: NDArray[np.int8]
    runs: bytes
    macs: int
    biases: Integers
    gains: Integers
    head_gains: Integers
    gates: NDArray[np.uint8]
    border: tuple[int, ...]
    arena: Arena
    order: tuple[int, ...]
    counters: int
    in_arena: bool


def layout_of(plan: IntegerPlan, memory: Memory | None = None, *, sparse: bool = False) -> Layout:
    """Rows of weights one after another, feature maps as `memory` places them, by default layer by layer.

    With `sparse`, layers whose runs of weights that are not zero take fewer bytes have these. Raises SqueezekitError where a
    feature map has more channels than 16 bits count.
    """
    if (widest := max(feature_map.channels for feature_map in plan.feature_maps)) > MAX_CHANNELS:
        raise SqueezekitError(f"a feature map of {widest:,} channels is too wide; train a network of at most {MAX_CHANNELS:,}")
    memory = memory or MemoryPlanner(plan).by_layer()
    tables = _Tables(plan, memory, sparse=sparse)
    for number, step in enumerate(plan.steps):
        tables.add(number, step)
    head, stem = plan.steps[-1], plan.steps[0]
    assert isinstance(head, IntegerHead) and isinstance(stem, IntegerConvolution)
    return Layout(
        tuple(replace(layer, **_turns(number, memory, len(plan.steps))) for number, layer in enumerate(tables.layers)),
        np.concatenate(tables.weights),
        bytes(tables.runs),
        tables.macs,
        np.concatenate(tables.biases),
        np.concatenate(tables.gains),
        head.gain,
        tables.gates,
        stem.border,
        memory.arena,
        memory.order if memory.by_row else (),
        memory.counters,
        bool(memory.weights),
    )


def _turns(number: int, memory: Memory, steps: int) -> dict[str, int]:
    """Whether a layer goes row by row, and before which layer those end whose weights are decoded with its own."""
    end = next((cut for cut in memory.cuts if cut > number), steps)
    return {"by_row": int(number in memory.by_row), "until": end if memory.weights else 0}


class _Tables:
    """The tables of a plan, step by step."""

    def __init__(self, plan: IntegerPlan, memory: Memory, *, sparse: bool) -> None:
        self._plan, self._memory, self._sparse = plan, memory, sparse
        self.layers: list[LayerRecord] = []
        self.weights: list[NDArray[np.int8]] = []
        self.runs, self.macs = bytearray(), plan.macs
        self.biases: list[Integers] = []
        self.gains: list[Integers] = []
        self.gates = np.empty(0, np.uint8)
        self._first_weight = self._first_filter = 0

    def add(self, number: int, step: Step) -> None:
        """Those of one more step."""
        if isinstance(step, IntegerPooling):
            self.layers.append(LayerRecord(POOLING, kernel=step.size, **_shapes(self._plan, step, self._memory)))
        elif isinstance(step, IntegerGating):
            shapes = _shapes(self._plan, step, self._memory)
            self.layers.append(LayerRecord(GATING, zero=step.zero, weights=len(self.gates), **shapes))
            self.gates = np.append(self.gates, step.table)
        else:
            indices = {**self._stored(number, step), "filter": self._first_filter, "scratch": self._memory.scratch.get(number, 0)}
            self.layers.append(_record(self._plan, step, self._memory, indices))
            self.biases.append(step.bias)
            self._first_filter += len(step.weights)
            if isinstance(step, IntegerConvolution):
                self.gains.append(step.gain)

    def _stored(self, number: int, step: IntegerConvolution | IntegerHead) -> dict[str, int]:
        """Where the weights of a step begin, in the form that takes fewer bytes."""
        rows, run = _rows(step), _runs(step) if self._sparse else None
        if run is not None and len(run) < rows.size:
            begin = {"weights": len(self.runs), "sparse": 1}
            self.runs += run
            self.macs -= self._plan.macs_of(step) * int((step.weights == 0).sum()) // step.weights.size
            return begin
        begin = {"weights": self._memory.weights.get(number, self._first_weight)}
        self.weights.append(rows.ravel())
        self._first_weight += rows.size
        return begin


def _rows(step: IntegerConvolution | IntegerHead) -> NDArray[np.int8]:
    flat = step.weights.reshape(len(step.weights), -1)
    if isinstance(step, IntegerConvolution) and step.depthwise:
        return np.ascontiguousarray(flat.T)
    rows = np.zeros((len(flat), row_bytes(step)), np.int8)
    rows[:, : flat.shape[1]] = flat
    return rows


def _runs(step: IntegerConvolution | IntegerHead) -> bytes | None:
    """Of a convolution whose filters see all channels."""
    if isinstance(step, IntegerHead) or step.depthwise:
        return None
    return runs_of(step.weights.reshape(len(step.weights), -1))


def _record(
    plan: IntegerPlan,
    step: IntegerConvolution | IntegerHead,
    memory: Memory,
    indices: dict[str, int],
) -> LayerRecord:
    indices = {**indices, "bits": int(np.abs(step.weights.astype(np.int64)).max()).bit_length()}
    if isinstance(step, IntegerHead):
        fields = {"shift": step.shift, "rectified": int(step.relu), "drop": step.drop, "filters": len(step.weights)}
        return LayerRecord(HEAD, **_shapes(plan, step, memory), **indices, **fields, row=row_bytes(step))
    height, width = plan.sum_shape(step)
    residual = {}
    if step.residual:
        r = step.residual
        residual = {"residual": memory.offsets[r.source], "residual_gain": r.gain, "residual_offset": r.offset}
        residual |= {"residual_shift": r.shift, "has_residual": 1, "residual_rows": memory.rows[r.source]}
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
        **_shapes(plan, step, memory),
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
