"""A plan as the tables that the C runtime reads: layers, weights, biases, gains, and the places of the maps in the arena."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from squeezekit.integer.plan import Convolution, Gating, Head, Integers, Plan, Pooling, Step
from squeezekit.integer.planner import Arena, Block, placed

TILE = 4  # Positions that the runtime computes together.
CONVOLUTION, POOLING, HEAD, GATING = range(4)


@dataclass(frozen=True)
class Layer:
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
        """Their names and values, in the order of the struct."""
        return asdict(self)


@dataclass(frozen=True)
class Layout:
    """Everything about a network that the runtime needs."""

    layers: tuple[Layer, ...]
    weights: NDArray[np.int8]
    biases: Integers
    gains: Integers
    head_gains: Integers
    gates: NDArray[np.uint8]
    border: tuple[int, ...]
    arena: Arena


def laid_out(plan: Plan) -> Layout:
    """Rows of weights one after another, maps in the smallest arena."""
    arena, map_places, scratch = _memory(plan)
    layers, weights, biases, gains = [], [], [], []
    first_weight = first_filter = 0
    gates = np.empty(0, np.uint8)
    for number, step in enumerate(plan.steps):
        if isinstance(step, Pooling):
            layers.append(Layer(POOLING, kernel=step.size, **_maps(plan, step, map_places)))
            continue
        if isinstance(step, Gating):
            layers.append(Layer(GATING, zero=step.zero, weights=len(gates), **_maps(plan, step, map_places)))
            gates = np.append(gates, step.table)
            continue
        places = {"weights": first_weight, "filter": first_filter, "scratch": scratch.get(number, 0)}
        layers.append(_layer(plan, step, map_places, places))
        rows = _rows(step)
        weights.append(rows.ravel())
        biases.append(step.bias)
        first_weight, first_filter = first_weight + rows.size, first_filter + len(step.weights)
        if isinstance(step, Convolution):
            gains.append(step.gain)
    head, stem = plan.steps[-1], plan.steps[0]
    assert isinstance(head, Head) and isinstance(stem, Convolution)
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


def row_bytes(step: Convolution | Head) -> int:
    """From one filter's weights to the next: with zeros behind them where that makes whole vectors of little more.

    Of depthwise filters, which lie beside each other, from those of one tap to those of the next.
    """
    if isinstance(step, Convolution) and step.depthwise:
        return len(step.weights)
    length = int(step.weights[0].size)
    if isinstance(step, Head):
        return length
    for unit, share in ((32, 8), (16, 4)):
        whole = -(-length // unit) * unit
        if (whole - length) * share <= length:
            return whole
    return length


def _rows(step: Convolution | Head) -> NDArray[np.int8]:
    flat = step.weights.reshape(len(step.weights), -1)
    if isinstance(step, Convolution) and step.depthwise:
        return np.ascontiguousarray(flat.T)
    rows = np.zeros((len(flat), row_bytes(step)), np.int8)
    rows[:, : flat.shape[1]] = flat
    return rows


def _bytes_under(step: Convolution) -> int:
    """What is brought together for one position."""
    return step.kernel**2 * len(step.weights) if step.depthwise else row_bytes(step)


def _gathers(plan: Plan, step: Step) -> bool:
    """Whether the bytes under the filter have to be brought together first."""
    if not isinstance(step, Convolution):
        return False
    return step.source == 0 or step.kernel > 1 or row_bytes(step) > plan.maps[step.source].channels


def _memory(plan: Plan) -> tuple[Arena, list[int], dict[int, int]]:
    """The arena, the place of each map in it, and of each step's room for bytes under filters.

    The picture stays where the caller has it. Pooling, gating and the adding of a bypass work in place.
    """
    begin, end, home = dict[int, int](), dict[int, int](), dict[int, int]()
    for number, step in enumerate(plan.steps):
        residual = step.residual.source if isinstance(step, Convolution) and step.residual else None
        for source in (step.source, residual):
            if source:
                end[source] = number
        if not isinstance(step, Head):
            begin.setdefault(step.target, number)
            in_place = step.source if isinstance(step, Pooling | Gating) else residual
            if in_place:
                home[step.target] = in_place
    blocks: list[Block] = []
    block_of: dict[int, int] = {}
    for number in range(1, len(plan.maps)):
        block = Block.of(plan.maps[number].bytes, begin[number], end[number])
        if number in home:
            block_of[number] = block_of[home[number]]
            blocks[block_of[number]] = blocks[block_of[number]].together(block)
        else:
            block_of[number] = len(blocks)
            blocks.append(block)
    rooms = {number: len(blocks) + i for i, number in enumerate(n for n, step in enumerate(plan.steps) if _gathers(plan, step))}
    for number in rooms:
        step = plan.steps[number]
        assert isinstance(step, Convolution)
        blocks.append(Block.of(TILE * _bytes_under(step), number, number))
    arena = placed(blocks)
    maps = [0] + [arena.offsets[block_of[number]] for number in range(1, len(plan.maps))]
    return arena, maps, {number: arena.offsets[room] for number, room in rooms.items()}


def _layer(plan: Plan, step: Convolution | Head, map_places: list[int], places: dict[str, int]) -> Layer:
    places = {**places, "bits": int(np.abs(step.weights.astype(np.int64)).max()).bit_length()}
    if isinstance(step, Head):
        about = {"shift": step.shift, "rectified": int(step.relu), "drop": step.drop, "filters": len(step.weights)}
        return Layer(HEAD, **_maps(plan, step, map_places), **places, **about, row=row_bytes(step))
    height, width = plan.positions(step)
    residual = {}
    if step.residual:
        r = step.residual
        residual = {"residual": map_places[r.source], "residual_gain": r.gain, "residual_offset": r.offset}
        residual |= {"residual_shift": r.shift, "has_residual": 1}
    return Layer(
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
        **_maps(plan, step, map_places),
        **places,
        **residual,
    )


def _maps(plan: Plan, step: Step, map_places: list[int]) -> dict[str, int]:
    """What a layer says of its source and, but for the head, of its target."""
    source = plan.maps[step.source]
    about = {"height": source.height, "width": source.width, "channels": source.channels, "source": map_places[step.source]}
    if isinstance(step, Head):
        return about
    target = plan.maps[step.target]
    about |= {"out_height": target.height, "out_width": target.width, "out_channels": target.channels}
    return about | {"target": map_places[step.target]}
