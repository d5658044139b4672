"""Rows that flow through a network: the order in which steps make them, and how many of each feature map are kept.

Steps are cut into segments, one after the other. Inside a segment a row is made when a later step asks for it, and forgotten
when no step will ask for it again; nothing is computed twice (in patches, Lin et al., 2021, arXiv 2110.15352, halos are). What is
read by a later segment is kept whole. Segments of one step each are the order layer by layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from .plan import FeatureMap, IntegerConvolution, IntegerHead, IntegerPlan, IntegerPooling, Step

# The runtime counts steps, and rows of a step, in a byte.
MOST = 255


@dataclass(frozen=True)
class Segment:
    """Steps from `begin` to before `end`, and the order in which they make rows; a single step makes all of them at once.

    rows: how many of each feature map that is made here are kept; row r lies at place r modulo that number. shares: feature maps
    whose rows take the place of the same rows of another one.
    """

    begin: int
    end: int
    steps: tuple[int, ...]
    rows: dict[int, int]
    shares: dict[int, int]

    @property
    def by_row(self) -> bool:
        """Whether steps take turns."""
        return self.end - self.begin > 1


class DataFlow:
    """Which rows the steps of a plan make, and from which."""

    def __init__(self, plan: IntegerPlan) -> None:
        self.plan, self.count = plan, len(plan.steps)
        self.writers, self.readers = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
        for number, step in enumerate(plan.steps):
            if not isinstance(step, IntegerHead):
                self.writers[step.target].append(number)
            for feature_map, _first, _last in self.needed[number][0]:
                self.readers[feature_map].append(number)

    @cached_property
    def needed(self) -> list[list[list[tuple[int, int, int]]]]:
        """By step and row that it makes: feature maps, and the first and the last row of each that it is made from."""
        return [
            [[(source, *rows) for source, rows in _needed(self.plan, step, row).items()] for row in range(self.height(number))]
            for number, step in enumerate(self.plan.steps)
        ]

    @cached_property
    def first_read(self) -> dict[tuple[int, int], list[int]]:
        """By step and feature map that it reads, the first row that each of its own needs; after them, the map's height."""
        return {
            (reader, feature_map): [
                *(first for row in self.needed[reader] for number, first, _last in row if number == feature_map),
                self.plan.feature_maps[feature_map].height,
            ]
            for feature_map, readers in self.readers.items()
            for reader in readers
        }

    def height(self, number: int) -> int:
        """Rows that a step makes; of the head, those that it reads."""
        return self._heights[number]

    @cached_property
    def _heights(self) -> list[int]:
        maps = [step.source if isinstance(step, IntegerHead) else step.target for step in self.plan.steps]
        return [self.plan.feature_maps[number].height for number in maps]

    def segment(self, begin: int, end: int) -> Segment:
        """Those steps in the order that keeps the fewest rows."""
        if end - begin == 1:
            return Segment(begin, end, (begin,), {}, self._in_place(begin))
        shares = self._shared_rings(begin, end)
        while True:
            rows = _Rows(self, begin, end, shares)
            if not (wrong := rows.run()):
                return Segment(begin, end, tuple(rows.steps), rows.kept(), shares)
            shares = {target: source for target, source in shares.items() if target not in wrong}

    def inside(self, feature_map: int, begin: int, end: int) -> bool:
        """Whether only these steps make and read a feature map."""
        return all(begin <= number < end for number in (*self.writers[feature_map], *self.readers[feature_map]))

    def can_flow(self, begin: int, end: int) -> bool:
        """Whether the runtime can count these rows."""
        return self.count <= MOST and all(self.height(number) <= MOST for number in range(begin, end))

    def _in_place(self, number: int) -> dict[int, int]:
        """What a single step makes in the place of what nobody reads later but those that make other channels of it."""
        step = self.plan.steps[number]
        source = _replaceable(step) if isinstance(step, IntegerConvolution) else step.source
        if isinstance(step, IntegerHead) or not source:
            return {}
        later = {reader for reader in self.readers[source] if reader > number}
        return {step.target: source} if later <= set(self.writers[step.target]) else {}

    def _shared_rings(self, begin: int, end: int) -> dict[int, int]:
        """What a bypass is added to may take its place, row by row."""
        found = dict[int, int]()
        for step in self.plan.steps[begin:end]:
            source = _replaceable(step)
            if source and isinstance(step, IntegerConvolution) and source not in found.values():
                same = _shape(self.plan.feature_maps[source]) == _shape(self.plan.feature_maps[step.target])
                if same and self.inside(source, begin, end) and self.inside(step.target, begin, end):
                    found[step.target] = source
        return found


def residual_source(step: Step) -> int | None:
    """The feature map that a bypass comes from, if a step adds one."""
    return step.residual.source if isinstance(step, IntegerConvolution) and step.residual else None


def _replaceable(step: Step) -> int | None:
    """The bypass of a step whose filters do not read it, too."""
    source = residual_source(step)
    return source if source != step.source else None


def segments_of(flow: DataFlow, cuts: Sequence[int]) -> list[Segment]:
    """Segments that begin at these steps."""
    return [flow.segment(begin, end) for begin, end in pairwise([*cuts, flow.count])]


class _Rows:
    """Makes every row of a segment that later steps, or the logits, need."""

    def __init__(self, flow: DataFlow, begin: int, end: int, shares: dict[int, int]) -> None:
        self._flow, self._begin, self._end, self._shares = flow, begin, end, shares
        self.steps = list[int]()
        self._made = dict.fromkeys(range(begin, end), 0)
        self._group, self._members = dict[int, int](), defaultdict[int, list[int]](list)
        for number in range(begin, end):
            step = flow.plan.steps[number]
            if not isinstance(step, IntegerHead) and step.target not in self._group and flow.inside(step.target, begin, end):
                self._group[step.target] = self._group.get(shares.get(step.target, -1), step.target)
                self._members[self._group[step.target]].append(step.target)
        self._rows = dict.fromkeys(self._members, 0)

    def run(self) -> set[int]:
        """Returns feature maps that would overwrite what is still read."""
        wrong = set[int]()
        for number in range(self._end - 1, self._begin - 1, -1):
            if self._ends(number):
                while self._made[number] < self._flow.height(number):
                    wrong |= self._make(number)
        return wrong

    def kept(self) -> dict[int, int]:
        """How many rows of each feature map are kept."""
        heights = self._flow.plan.feature_maps
        return {number: min(max(self._rows[group], 1), heights[number].height) for number, group in self._group.items()}

    def _ends(self, number: int) -> bool:
        """Whether somebody outside reads what a step makes."""
        step = self._flow.plan.steps[number]
        return isinstance(step, IntegerHead) or not self._flow.inside(step.target, self._begin, self._end)

    def _make(self, number: int) -> set[int]:
        """Make the next row of a step, but first what it needs; a stack, since networks may be deeper than Python's."""
        stack, wrong = [number], set[int]()
        while stack:
            missing = next(self._missing(stack[-1]), None)
            if missing is not None:
                stack.append(missing)
                continue
            made = stack.pop()
            step = self._flow.plan.steps[made]
            self.steps.append(made)
            self._made[made] += 1
            if not isinstance(step, IntegerHead) and step.target in self._group:
                if not self._may_replace(step.target, self._made[made] - 1):
                    wrong.add(step.target)
                self._keep(self._group[step.target])
        return wrong

    def _missing(self, number: int) -> Iterator[int]:
        """Steps whose next row the next row of a step needs."""
        for feature_map, _first, last in self._flow.needed[number][self._made[number]]:
            for writer in self._flow.writers[feature_map]:
                if self._made.get(writer, last + 1) <= last:
                    yield writer

    def _may_replace(self, feature_map: int, row: int) -> bool:
        """Whether nobody else reads a row any more in whose place another one comes."""
        source = self._shares.get(feature_map)
        if source is None:
            return True
        others = set(self._flow.readers[source]) - set(self._flow.writers[feature_map])
        return all(self._next_read(reader, source) > row for reader in others)

    def _keep(self, group: int) -> None:
        """One more row is there: keep those that a step will still read."""
        members = self._members[group]
        newest = max(self._made[writer] for member in members for writer in self._flow.writers[member])
        reads = [self._next_read(reader, member) for member in members for reader in self._flow.readers[member]]
        self._rows[group] = max(self._rows[group], newest - min([*reads, newest - 1]))

    def _next_read(self, reader: int, feature_map: int) -> int:
        """The first row that a step will read next; beyond the last where it is done."""
        return self._flow.first_read[reader, feature_map][self._made[reader]]


def _shape(feature_map: FeatureMap) -> tuple[int, int, int]:
    return feature_map.height, feature_map.width, feature_map.channels


def _needed(plan: IntegerPlan, step: Step, row: int) -> dict[int, tuple[int, int]]:
    height = plan.feature_maps[step.source].height
    if isinstance(step, IntegerHead):
        return {step.source: (row, row)}
    if isinstance(step, IntegerPooling):
        return {step.source: (2 * row, min(2 * row + step.size, height) - 1)}
    return _under(plan, step, row, height)


def _under(plan: IntegerPlan, step: IntegerConvolution, row: int, height: int) -> dict[int, tuple[int, int]]:
    """Of a convolution, what lies under its filters at a row, and that row of a bypass."""
    first, last = (2 * row, min(2 * row + 1, plan.sum_shape(step)[0] - 1)) if step.pooled else (row, row)
    begin, end = first * step.stride - step.padding, last * step.stride - step.padding + step.kernel - 1
    found = {step.source: (min(max(begin, 0), height - 1), min(max(end, 0), height - 1))}
    if step.residual:
        own = found.get(step.residual.source, (row, row))
        found[step.residual.source] = min(own[0], row), max(own[1], row)
    return found
