"""Memory that a network takes for its activations: layer by layer, row by row, or begun by rows and gone on with by layers."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from squeezekit.networks.activations import Activation

# Name of an activation and number of one of its rows.
Row = tuple[str, int]


@dataclass(frozen=True)
class RowsKept:
    """`bytes` alive at the worst moment, and how many rows each activation keeps of each that it reads: rows[reader][source]."""

    bytes: int
    rows: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Mixture:
    """`bytes` alive at the worst moment, and the first activation that is computed layer by layer; None where all go by rows."""

    bytes: int
    switch: Activation | None


def bytes_by_layer(activations: Sequence[Activation]) -> list[int]:
    """Bytes alive while each activation is made, where one after the other is made whole."""
    last = {activation.name: position for position, activation in enumerate(activations)}
    for position, activation in enumerate(activations):
        last |= {window.source: position for window in activation.windows}
    return [
        sum(each.bytes for each in activations[: position + 1] if last[each.name] >= position)
        for position in range(len(activations))
    ]


def row_by_row(activations: Sequence[Activation]) -> RowsKept | None:
    """What is kept where each row is computed when a layer asks for it, and forgotten when none will ask again.

    An image comes by rows too; what nobody reads stays whole. No plan of memory needs fewer bytes for this order. None where it
    is unknown which rows an activation needs.
    """
    return _Schedule(activations).run() if all(activation.by_rows for activation in activations) else None


def least_mixture(activations: Sequence[Activation], rows: RowsKept) -> Mixture:
    """The fewest bytes of all ways to begin row by row and to go on layer by layer, either of both alone among them.

    `rows` are those of the whole network. Both ways meet where all that is read later is one feature map, joined or not, and that
    one is whole by then.
    """
    by_layer, best = bytes_by_layer(activations), Mixture(rows.bytes, None)
    fronts = {count: front for count in range(1, len(activations)) if (front := _front(activations, count))}
    # What remains of the bytes however the first `count` activations are made.
    least = {count: max(sum(each.bytes for each in front), *by_layer[count:]) for count, front in fronts.items()}
    for count in sorted(least, key=lambda count: (least[count], -count)):
        if least[count] >= best.bytes:
            break
        # A reader of no bytes, so that nothing is forgotten that is read later.
        later = Activation("", 1, 0, tuple(each.whole for each in fronts[count]))
        found = max(_Schedule([*activations[:count], later]).run(best.bytes).bytes, least[count])
        if found < best.bytes:
            best = Mixture(found, activations[count])
    return best


def _front(activations: Sequence[Activation], count: int) -> list[Activation]:
    """Those of the first `count` activations that later ones read; none where not all of these read the same."""
    begun = {activation.name for activation in activations[:count]}
    reads = [begun & {window.source for window in later.windows} for later in activations[count:]]
    first = next((read for read in reads if read), set[str]())
    return [each for each in activations[:count] if each.name in first] if all(read in (first, set()) for read in reads) else []


class _Schedule:
    """Computes all rows of what nobody reads, and on the way what these ask for; each activation's rows in their order."""

    def __init__(self, activations: Sequence[Activation]) -> None:
        self._activations = {activation.name: activation for activation in activations}
        self._scale, self._ahead = _distances(activations)
        # By row, what it is computed from, the one before it, and how often each reader will still read it.
        self._reads: dict[Row, list[Row]] = {}
        self._before: dict[Row, Row] = {}
        self._unread = defaultdict[Row, Counter[str]](Counter)
        self._outputs = self._plan()
        self._made = set[Row]()
        # By reader and source, the rows that wait for the reader now, and the most that did.
        self._waiting = Counter[tuple[str, str]]()
        self._kept: dict[str, dict[str, int]] = {activation.name: {} for activation in activations}
        self._bytes = self._most = 0

    def run(self, limit: float = math.inf) -> RowsKept:
        """Of the whole schedule, or of its beginning until `limit` bytes are alive."""
        for row in self._outputs:
            self._demand(row, limit)
        return RowsKept(self._most, self._kept)

    def _plan(self) -> list[Row]:
        """Find which rows are needed, and for what; returns those that nobody reads."""
        needed, outputs = defaultdict[str, set[int]](set), list[Row]()
        for name, activation in reversed(self._activations.items()):
            every = range(activation.height)
            if name not in needed:
                outputs += [(name, number) for number in every]
            rows = [(name, number) for number in (every if activation.sums else sorted(needed.get(name, every)))]
            self._before |= {after: before for before, after in pairwise(rows)}
            for row in rows:
                self._reads[row] = self._read_by(row)
                for source, number in self._reads[row]:
                    self._unread[source, number][name] += 1
                    needed[source].add(number)
        return outputs

    def _read_by(self, row: Row) -> list[Row]:
        """What a row is computed from, in the order of the image, first what reaches farther ahead: it asks for more."""
        windows = self._activations[row[0]].windows
        rows = ((w.source, w.rows(row[1], self._activations[w.source].height)) for w in windows)
        read = dict.fromkeys((source, number) for source, numbers in rows for number in numbers)
        return sorted(read, key=lambda each: (self._scale[each[0]] * each[1], -self._ahead[each[0]]))

    def _demand(self, row: Row, limit: float) -> None:
        """Make a row, but first what it needs; a stack, since networks may be deeper than Python's."""
        stack = [(row, self._needs(row))]
        while stack and self._most < limit:
            row, needs = stack[-1]
            missing = next((each for each in needs if each not in self._made), None)
            if missing is None:
                self._make(row)
                stack.pop()
            else:
                stack.append((missing, self._needs(missing)))

    def _needs(self, row: Row) -> Iterator[Row]:
        return iter([*([self._before[row]] if row in self._before else []), *self._reads[row]])

    def _make(self, row: Row) -> None:
        name, number = row
        activation = self._activations[name]
        self._made.add(row)
        if not (activation.sums and number):
            self._bytes += activation.row_bytes
            self._most = max(self._most, self._bytes)
        for reader in self._unread[row]:
            self._waiting[reader, name] += 1
            self._kept[reader][name] = max(self._kept[reader].get(name, 0), self._waiting[reader, name])
        for read in self._reads[row]:
            self._release(read, name)

    def _release(self, row: Row, reader: str) -> None:
        """Forget a row when its last reader has read it for the last time."""
        readers = self._unread[row]
        readers[reader] -= 1
        if not readers[reader]:
            del readers[reader]
            self._waiting[reader, row[0]] -= 1
            if not readers:
                self._bytes -= self._activations[row[0]].row_bytes


def _distances(activations: Sequence[Activation]) -> tuple[dict[str, int], dict[str, int]]:
    """In rows of the image, by name: from one row to the next, and how far its last row that is needed is ahead."""
    scale, ahead = dict[str, int](), dict[str, int]()
    for activation in activations:
        windows = activation.windows
        scale[activation.name] = max((scale[window.source] * window.stride for window in windows), default=1)
        ahead[activation.name] = max((ahead[w.source] + scale[w.source] * w.ahead for w in windows), default=0)
    return scale, ahead
