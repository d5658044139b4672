"""Where feature maps, or the rows of them that are kept, lie in the arena, and which order of steps needs the fewest bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod

from ..system.errors import SqueezekitError
from .plan import IntegerConvolution, IntegerHead, IntegerPlan, Step
from .planner import Arena, ArenaBlock, place_blocks
from .row_order import DataFlow, Segment, segments_of

TILE = 4  # Positions that the runtime computes together.
SUM_BYTES = 4
# Of the bytes that are allowed, what is alive at once at most: what is alive may lie apart.
SHARES = (1.0, 0.9, 0.8, 0.6)
# Of segments that are tried for a network, in all; those of every preset, and for hundreds of steps segments of some ten.
MOST_ROWS_TRIED = 1_000_000


@dataclass(frozen=True)
class Memory:
    """The order of the steps, and where everything lies in the arena.

    order: numbers of steps; one of `by_row` makes its next row each time, another all its rows. rows: how many of each feature
    map are kept. offsets: of each feature map. scratch: by step, the room which it works in. counters: a byte for each step.
    cuts: where segments begin. weights: by step, where its weights lie while its segment is computed; empty where all of them are
    somewhere else all the time.
    """

    cuts: tuple[int, ...]
    order: tuple[int, ...]
    by_row: frozenset[int]
    rows: tuple[int, ...]
    arena: Arena
    offsets: tuple[int, ...]
    scratch: dict[int, int]
    weights: dict[int, int]
    counters: int


@dataclass(frozen=True)
class MemoryOfOrders:
    """Bytes of the arena where steps follow each other, where all of them flow by rows, and in the best mixture of both."""

    by_layer: int
    by_row: int
    least: int


class MemoryPlanner:
    """Plans the memory of one network. The image stays where the caller has it.

    With `decoded`, the weights of a segment's steps are in the arena too while it is computed, and those of no other.
    """

    def __init__(self, plan: IntegerPlan) -> None:
        self._plan, self._flow = plan, DataFlow(plan)
        self._segments = dict[tuple[int, int], Segment]()
        self._least = dict[bool, Memory]()
        # Of each feature map but the image, the step that makes it first, the one that reads it last, and its bytes.
        self._lives = [
            (self._flow.writers[number][0], self._flow.readers[number][-1], feature_map.bytes)
            for number, feature_map in enumerate(plan.feature_maps[1:], 1)
        ]

    def by_layer(self) -> Memory:
        """Every step after the one before it."""
        return self.cut_at(range(self._flow.count))

    def by_row(self) -> Memory:
        """All rows flow through the whole network; by layer where the runtime cannot count them."""
        return self.cut_at([0]) if self._flow.can_flow(0, self._flow.count) else self.by_layer()

    def least(self, *, decoded: bool = False) -> Memory:
        """The mixture of fewest bytes; of several one that keeps most steps whole."""
        if decoded not in self._least:
            self._least[decoded] = self._found_least(decoded)
        return self._least[decoded]

    def _found_least(self, decoded: bool) -> Memory:
        found = self.cut_at(self._cuts(0, decoded), decoded=decoded)
        # Once more, since a segment need not be smaller than the largest.
        calmer = self.cut_at(self._cuts(found.arena.least, decoded), decoded=decoded)
        found = calmer if calmer.arena.bytes <= found.arena.bytes else found
        # Not all segments of a deep network are tried.
        flowing = self.cut_at(self.by_row().cuts, decoded=decoded)
        return flowing if flowing.arena.bytes < found.arena.bytes else found

    def fitting(self, max_ram: int) -> Memory:
        """The mixture of at most `max_ram` bytes that keeps most steps whole; raises SqueezekitError without one."""
        for share in SHARES:
            with suppress(SqueezekitError):
                return self.cut_at(self._cuts(int(share * max_ram)), max_ram)
        found = self.least()
        if found.arena.bytes > max_ram:
            raise SqueezekitError(
                f"--max-ram {max_ram}: the feature maps of this network need {found.arena.bytes:,} bytes; choose another one"
            )
        return found

    def orders(self) -> MemoryOfOrders:
        """What each order needs."""
        return MemoryOfOrders(*(memory.arena.bytes for memory in (self.by_layer(), self.by_row(), self.least())))

    def _cuts(self, allowed: int, decoded: bool = False) -> list[int]:
        """Where segments begin, so that they exceed the allowed bytes least; then the fewest steps go by row."""
        best: list[tuple[int, int, list[int]]] = [(0, 0, [])]
        heights = [self._flow.height(number) for number in range(self._flow.count)]
        for end in range(1, self._flow.count + 1):
            found, rows_tried = None, 0
            for begin in range(end - 1, -1, -1):
                if end - begin > 1 and not self._flow.can_flow(begin, end):
                    break
                excess, by_row, cuts = best[begin]
                streamed = by_row + (end - begin if end - begin > 1 else 0)
                # Whole feature maps alone may be too many already.
                bound = max(self._whole_bytes(begin, end) - allowed, excess, 0)
                if found and (bound, streamed) >= found[:2]:
                    continue
                rows_tried += sum(heights[begin:end]) if end - begin > 1 else 0
                if rows_tried * self._flow.count > MOST_ROWS_TRIED:
                    break
                blocks = _Blocks(self._plan, self._flow, [self._segment(begin, end)], decoded)
                exact = max(sum(block.size_at(begin) for block in blocks.all) - allowed, excess, 0)
                if not found or (exact, streamed) < found[:2]:
                    found = exact, streamed, [*cuts, begin]
            assert found is not None
            best.append(found)
        return best[-1][2]

    def _segment(self, begin: int, end: int) -> Segment:
        if (begin, end) not in self._segments:
            self._segments[begin, end] = self._flow.segment(begin, end)
        return self._segments[begin, end]

    def _whole_bytes(self, begin: int, end: int) -> int:
        """Of feature maps that earlier segments have made or later ones read, at least; in place they are the same."""
        before = sum(size for first, last, size in self._lives if first < begin <= last)
        after = sum(size for first, last, size in self._lives if first < end <= last)
        return max(before, after)

    def cut_at(self, cuts: Sequence[int], most: float = math.inf, *, decoded: bool = False) -> Memory:
        """Segments that begin at these steps, the first of them 0; raises SqueezekitError where `most` bytes are too few."""
        segments = segments_of(self._flow, cuts)
        blocks = _Blocks(self._plan, self._flow, segments, decoded)
        arena = place_blocks(blocks.all, most)
        return Memory(
            cuts=tuple(cuts),
            order=tuple(number for segment in segments for number in segment.steps),
            by_row=frozenset(number for segment in segments if segment.by_row for number in segment.steps),
            rows=tuple(blocks.rows),
            arena=arena,
            offsets=(0, *(arena.offsets[blocks.of_map[number]] for number in range(1, len(self._plan.feature_maps)))),
            scratch={number: arena.offsets[block] for number, block in blocks.scratch.items()},
            weights={number: arena.offsets[block] for number, block in blocks.weights.items()},
            counters=arena.offsets[blocks.counters] if blocks.counters is not None else 0,
        )


def row_bytes(step: IntegerConvolution | IntegerHead) -> int:
    """From one filter's weights to the next: with zeros behind them where that makes whole vectors of little more.

    Of depthwise filters, which lie beside each other, from those of one tap to those of the next.
    """
    if isinstance(step, IntegerConvolution) and step.depthwise:
        return step.filters
    length = prod(step.weights.shape[1:])
    if isinstance(step, IntegerHead):
        return length
    for unit, share in ((32, 8), (16, 4)):
        whole = -(-length // unit) * unit
        if (whole - length) * share <= length:
            return whole
    return length


def weight_bytes(step: Step) -> int:
    """Of a step's weights in RAM, with the zeros behind its rows."""
    if not isinstance(step, IntegerConvolution | IntegerHead):
        return 0
    if isinstance(step, IntegerConvolution) and step.depthwise:
        return step.kernel**2 * row_bytes(step)
    return step.filters * row_bytes(step)


class _Blocks:
    """The blocks of the arena while some segments are computed, each of which is one moment, that of its first step."""

    def __init__(self, plan: IntegerPlan, flow: DataFlow, segments: Sequence[Segment], decoded: bool) -> None:
        self._plan, self._flow, self._segments = plan, flow, segments
        self._first, self._last = segments[0].begin, segments[-1].begin
        self.all: list[ArenaBlock] = []
        self.of_map: dict[int, int] = {}
        self.scratch: dict[int, int] = {}
        self.weights: dict[int, int] = {}
        self.rows = [each.height for each in plan.feature_maps]
        self._place_maps()
        for segment in segments:
            self._place_scratch(segment)
            if decoded:
                self._place_weights(segment)
        streamed = any(segment.by_row for segment in segments)
        self.counters = self._added(ArenaBlock.of(len(plan.steps), self._first, self._last)) if streamed else None

    def _added(self, block: ArenaBlock) -> int:
        self.all.append(block)
        return len(self.all) - 1

    def _moment(self, number: int) -> int:
        """When a step is computed; before or after all segments, at the first or the last."""
        for segment in self._segments:
            if number < segment.end:
                return segment.begin
        return self._last

    def _place_maps(self) -> None:
        """Those that take each other's place share a block."""
        shares = dict[int, int]()
        flowing = {number for segment in self._segments if segment.by_row for number in segment.steps}
        for segment in self._segments:
            # What another segment makes row by row may still be read there.
            shares |= {
                target: source
                for target, source in segment.shares.items()
                if segment.by_row or not flowing & set(self._flow.writers[target])
            }
            for number, rows in segment.rows.items():
                self.rows[number] = rows
        for number, feature_map in enumerate(self._plan.feature_maps[1:], 1):
            begin, end = self._flow.writers[number][0], self._flow.readers[number][-1]
            if end < self._segments[0].begin or begin >= self._segments[-1].end:
                continue
            size = self.rows[number] * feature_map.width * feature_map.channels
            block = ArenaBlock.of(size, self._moment(begin), self._moment(end))
            shared = self.of_map.get(shares.get(number, 0))
            if shared is None:
                self.of_map[number] = self._added(block)
            else:
                self.of_map[number] = shared
                self.all[shared] = self.all[shared].merged(block)

    def _place_scratch(self, segment: Segment) -> None:
        """The room that steps work in: convolutions of a segment, one at a time, all in the same."""
        steps = {number: self._plan.steps[number] for number in range(segment.begin, segment.end)}
        under = {number: size for number, step in steps.items() if (size := self._bytes_under_filters(step))}
        if under:
            block = self._added(ArenaBlock.of(max(under.values()), segment.begin, segment.begin))
            self.scratch |= dict.fromkeys(under, block)
        for number, step in steps.items():
            if isinstance(step, IntegerHead) and not step.relu:
                sums = SUM_BYTES * self._plan.feature_maps[step.source].channels
                self.scratch[number] = self._added(ArenaBlock.of(sums, segment.begin, segment.begin))

    def _place_weights(self, segment: Segment) -> None:
        """Those of all steps of a segment, wherever there is room."""
        for number in range(segment.begin, segment.end):
            if size := weight_bytes(self._plan.steps[number]):
                self.weights[number] = self._added(ArenaBlock.of(size, segment.begin, segment.begin))

    def _bytes_under_filters(self, step: Step) -> int:
        """What is gathered for a tile; nothing where it lies together already."""
        if not isinstance(step, IntegerConvolution):
            return 0
        every_pixel = step.kernel == 1 and step.stride == 1
        if step.source and every_pixel and row_bytes(step) <= self._plan.feature_maps[step.source].channels:
            return 0
        return TILE * (step.kernel**2 * step.filters if step.depthwise else row_bytes(step))
