"""Placement of feature maps in one block of memory, the arena, as small as the order of the steps allows.

Feature maps that are never needed at the same time share bytes; a step that may work in place has its target where its source
was. No placement needs less than the largest sum of what is alive at one step: one that needs no more is the smallest there is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..system.errors import SqueezekitError

MAX_TRIES = 5_000


@dataclass(frozen=True)
class ArenaBlock:
    """Bytes that stay in one place: `sizes[i]` of them at step `begin + i`."""

    begin: int
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, size: int, begin: int, end: int) -> ArenaBlock:
        """The same size from step `begin` to step `end`, both included."""
        return cls(begin, (size,) * (end - begin + 1))

    @property
    def end(self) -> int:
        """The step after its last."""
        return self.begin + len(self.sizes)

    def size_at(self, step: int) -> int:
        """Bytes that it needs at a step; 0 where it is not alive."""
        return self.sizes[step - self.begin] if self.begin <= step < self.end else 0

    def merged(self, other: ArenaBlock) -> ArenaBlock:
        """Both in one place, the larger of them at each step."""
        begin = min(self.begin, other.begin)
        steps = range(begin, max(self.end, other.end))
        return ArenaBlock(begin, tuple(max(self.size_at(step), other.size_at(step)) for step in steps))

    def shared_steps(self, other: ArenaBlock) -> list[tuple[int, int]]:
        """The distinct pairs of sizes at steps at which both are alive."""
        steps = range(max(self.begin, other.begin), min(self.end, other.end))
        return sorted({(self.size_at(step), other.size_at(step)) for step in steps})


@dataclass(frozen=True)
class Arena:
    """Its size in bytes, `least`, which no placement can go below, and the first byte of each block."""

    bytes: int
    least: int
    offsets: tuple[int, ...]


def bytes_alive(blocks: Sequence[ArenaBlock]) -> int:
    """The largest sum of what is alive at one step."""
    alive = [0] * max(block.end for block in blocks)
    for block in blocks:
        for step, size in enumerate(block.sizes, block.begin):
            alive[step] += size
    return max(alive)


def place_blocks(blocks: Sequence[ArenaBlock], most: float = math.inf) -> Arena:
    """A small arena for the blocks, mostly of `least` bytes; raises SqueezekitError where none of at most `most` is found.

    Blocks are placed in the order of their time, then in that of their size, then in that of how long they stay, each at an end
    of the arena or beside a block that is there; where one fits nowhere, those before it move. The arena begins with `least`
    bytes and grows only when everything has been tried, by a hundredth or more at a time.
    """
    least = bound = bytes_alive(blocks)
    by_size = sorted(range(len(blocks)), key=lambda i: -max(blocks[i].sizes))
    by_time = sorted(by_size, key=lambda i: blocks[i].begin)
    longest_first = sorted(by_size, key=lambda i: -len(blocks[i].sizes))
    pairs = _pairs(blocks)
    while bound <= most:
        larger = list[int]()
        for order in (by_time, by_size, longest_first):
            search = _Search(blocks, pairs, order, bound)
            if search.place():
                return Arena(bound, least, tuple(search.offsets[i] for i in range(len(blocks))))
            larger += [search.next_bound] if search.next_bound is not None else []
        if not larger:
            break
        bound = max(min(larger), bound + least // 100)
    raise SqueezekitError("no placement of its feature maps in memory was found; choose another network")


Pairs = list[list[tuple[int, tuple[int, int]]]]


def _pairs(blocks: Sequence[ArenaBlock]) -> Pairs:
    """By block: the numbers of those that are alive together with it, and the sizes of both then."""
    ends = [block.end for block in blocks]
    return [
        [
            (number, pair)
            for number, (other, end) in enumerate(zip(blocks, ends, strict=True))
            if block.begin < end and other.begin < block_end
            for pair in block.shared_steps(other)
        ]
        for block, block_end in zip(blocks, ends, strict=True)
    ]


class _Search:
    """Depth-first, with at most MAX_TRIES placements of a block."""

    def __init__(self, blocks: Sequence[ArenaBlock], pairs: Pairs, order: Sequence[int], bound: int) -> None:
        self._sizes = [max(block.sizes) for block in blocks]
        self._pairs, self._order, self._bound = pairs, order, bound
        self._tries = 0
        self.offsets: dict[int, int] = {}
        # The smallest arena that would have allowed an offset that was too far out.
        self.next_bound: int | None = None

    def place(self) -> bool:
        """Place all blocks in their order; a stack of what is still to be tried, since there may be more than Python's holds."""
        untried: list[Iterator[int]] = [iter(self._candidates(self._order[0]))]
        while untried:
            index = self._order[len(untried) - 1]
            self.offsets.pop(index, None)
            offset = next(untried[-1], None)
            if offset is None:
                untried.pop()
                continue
            self._tries += 1
            if self._tries > MAX_TRIES:
                return False
            self.offsets[index] = offset
            if len(untried) == len(self._order):
                return True
            untried.append(iter(self._candidates(self._order[len(untried)])))
        return False

    def _candidates(self, index: int) -> list[int]:
        """Offsets at which a block overlaps none of those placed before."""
        size = self._sizes[index]
        placed = [(self.offsets[i], pair) for i, pair in self._pairs[index] if i in self.offsets]
        wanted = {0, self._bound - size}
        for start, (own, other) in placed:
            wanted |= {start + other, start - own}
        fitting = []
        for offset in sorted(wanted):
            if offset < 0 or any(offset < start + other and start < offset + own for start, (own, other) in placed):
                continue
            if offset + size <= self._bound:
                fitting.append(offset)
            elif self.next_bound is None or offset + size < self.next_bound:
                self.next_bound = offset + size
        return fitting
