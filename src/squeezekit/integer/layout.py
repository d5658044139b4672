"""A plan as the tables that the C runtime reads: layers, weights, biases, gains, and offsets of feature maps in the arena."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squeezekit.integer.layer_records import LayerRecord, records_of
from squeezekit.integer.memory import Memory, MemoryPlanner, row_bytes
from squeezekit.integer.plan import IntegerConvolution, IntegerHead, IntegerPlan
from squeezekit.integer.planner import Arena
from squeezekit.integer.sparse_weights import runs_of

Integers = NDArray[np.int64]


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
    memory = memory or MemoryPlanner(plan).by_layer()
    weights = _Weights(plan, memory, sparse=sparse)
    layers = records_of(plan, memory, weights.add)
    convolutions = [step for step in plan.steps if isinstance(step, IntegerConvolution)]
    head = plan.steps[-1]
    assert isinstance(head, IntegerHead)
    return Layout(
        layers,
        np.concatenate(weights.rows),
        bytes(weights.runs),
        weights.macs,
        np.concatenate([*(step.bias for step in convolutions), head.bias]),
        np.concatenate([step.gain for step in convolutions]),
        head.gain,
        convolutions[0].border,
        memory.arena,
        memory.order if memory.by_row else (),
        memory.counters,
        bool(memory.weights),
    )


class _Weights:
    """The weights of a plan, step by step, each in the form that takes fewer bytes."""

    def __init__(self, plan: IntegerPlan, memory: Memory, *, sparse: bool) -> None:
        self._plan, self._memory, self._sparse, self._first = plan, memory, sparse, 0
        self.rows: list[NDArray[np.int8]] = []
        self.runs, self.macs = bytearray(), plan.macs

    def add(self, number: int, step: IntegerConvolution | IntegerHead) -> dict[str, int]:
        """Where the weights of a step begin, and the bits of the largest."""
        bits = {"bits": int(np.abs(step.weights.astype(np.int64)).max()).bit_length()}
        rows, run = _rows(step), _runs(step) if self._sparse else None
        if run is not None and len(run) < rows.size:
            begin = {"weights": len(self.runs), "sparse": 1}
            self.runs += run
            self.macs -= self._plan.macs_of(step) * int((step.weights == 0).sum()) // step.weights.size
            return {**bits, **begin}
        begin = {"weights": self._memory.weights.get(number, self._first)}
        self.rows.append(rows.ravel())
        self._first += rows.size
        return {**bits, **begin}


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
