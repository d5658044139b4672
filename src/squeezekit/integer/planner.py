"""Placement of feature maps in one block of memory, the arena, as small as the order of the steps allows.

Feature maps that are never needed at the same time share bytes; a step that may work in place has its target where its source
was. No placement needs less than the largest sum of what is alive at one step: one that needs no more is the smallest there is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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

    def size_at(self, step: int) -> int:
        """Bytes that it needs at a step; 0 where it is not alive."""
        return self.sizes[step - self.begin] if self.begin <= step < self.begin + len(self.sizes) else 0

    def merged(self, other: ArenaBlock) -> ArenaBlock:
        """Both in one place, the larger of them at each step."""
        begin = min(self.begin, other.begin)
        end = max(self.begin + len(self.sizes), other.begin + len(other.sizes))
        return ArenaBlock(begin, tuple(max(self.size_at(step), other.size_at(step)) for step in range(begin, end)))

    def shared_steps(self, other: ArenaBlock) -> list[tuple[int, int]]:
        """The distinct pairs of sizes at steps at which both are alive."""
        steps = range(max(self.begin, other.begin), min(self.begin + len(self.sizes), other.begin + len(other.sizes)))
        return sorted({(self.size_at(step), other.size_at(step)) for step in steps})


@dataclass(frozen=True)
class Arena:
    """Its size in bytes, `least`, which no placement can go below, and the first byte of each block."""

    bytes: int
    least: int
    offsets: tuple[int, ...]


def bytes_alive(blocks: Sequence[ArenaBlock]) -> int:
    """The largest sum of what is alive at one step."""
    last = max(block.begin + len(block.sizes) for block in blocks)
    return max(sum(block.size_at(step) for block in blocks) for step in range(last))


def place_blocks(blocks: Sequence[ArenaBlock], most: float = math.inf) -> Arena:
    """A small arena for the blocks, mostly of `least` bytes; raises SqueezekitError where none of at most `most` is found.

    Blocks are placed in the order of their time, each at an end of the arena or beside a block that is there; where one fits
    nowhere, those before it move. The arena begins with `least` bytes and grows only when everything has been tried.
    """
    least = bound = bytes_alive(blocks)
    order = sorted(range(len(blocks)), key=lambda i: (blocks[i].begin, -max(blocks[i].sizes)))
    while bound <= most:
        search = _Search(blocks, order, bound)
        if search.place(0):
            return Arena(bound, least, tuple(search.offsets[i] for i in range(len(blocks))))
        if search.next_bound is None:
            break
        bound = search.next_bound
    raise SqueezekitError("no placement of its feature maps in memory was found; choose another network")


class _Search:
    """Depth-first, with at most MAX_TRIES placements of a block."""

    def __init__(self, blocks: Sequence[ArenaBlock], order: Sequence[int], bound: int) -> None:
        self._blocks, self._order, self._bound = blocks, order, bound
        self._tries = 0
        self.offsets: dict[int, int] = {}
        # The smallest arena that would have allowed an offset that was too far out.
        self.next_bound: int | None = None

    def place(self, depth: int) -> bool:
        """Place this block of the order and all that follow."""
        if depth == len(self._order):
            return True
        index = self._order[depth]
        for offset in self._candidates(index):
            self._tries += 1
            if self._tries > MAX_TRIES:
                return False
            self.offsets[index] = offset
            if self.place(depth + 1):
                return True
            del self.offsets[index]
        return False

    def _candidates(self, index: int) -> list[int]:
        """Offsets at which a block overlaps none of those placed before."""
        block = self._blocks[index]
        size = max(block.sizes)
        placed = [(start, pair) for i, start in self.offsets.items() for pair in block.shared_steps(self._blocks[i])]
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
