"""Where in one block of memory each map stands, so that the block is as small as the order of the steps allows.

Maps that are never needed at the same time share bytes; a step that may work in place has its target where its source was. No
placement needs less than the largest sum of what is alive at one step: one that needs no more is the smallest there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from squeezekit.system.errors import SqueezekitError

MOST_TRIES = 100_000


@dataclass(frozen=True)
class Block:
    """Bytes that stay in one place: `sizes[i]` of them at step `begin + i`."""

    begin: int
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, size: int, begin: int, end: int) -> Block:
        """The same size from step `begin` to step `end`, both included."""
        return cls(begin, (size,) * (end - begin + 1))

    def at(self, step: int) -> int:
        """Bytes that a step needs of it."""
        return self.sizes[step - self.begin] if self.begin <= step < self.begin + len(self.sizes) else 0

    def together(self, other: Block) -> Block:
        """Both in one place, the larger of them at each step."""
        begin = min(self.begin, other.begin)
        end = max(self.begin + len(self.sizes), other.begin + len(other.sizes))
        return Block(begin, tuple(max(self.at(step), other.at(step)) for step in range(begin, end)))

    def beside(self, other: Block) -> list[tuple[int, int]]:
        """The distinct pairs of sizes at steps that need both."""
        steps = range(max(self.begin, other.begin), min(self.begin + len(self.sizes), other.begin + len(other.sizes)))
        return sorted({(self.at(step), other.at(step)) for step in steps})


@dataclass(frozen=True)
class Arena:
    """Its size in bytes, `least`, which no placement can go below, and the first byte of each block."""

    bytes: int
    least: int
    offsets: tuple[int, ...]


def placed(blocks: Sequence[Block]) -> Arena:
    """A small arena for the blocks, mostly of `least` bytes; raises SqueezekitError where none is found.

    Blocks are placed in the order of their time, each at an end of the arena or beside a block that is there; where one fits
    nowhere, those before it move. The arena begins with `least` bytes and grows only when everything has been tried.
    """
    last = max(block.begin + len(block.sizes) for block in blocks)
    least = bound = max(sum(block.at(step) for block in blocks) for step in range(last))
    order = sorted(range(len(blocks)), key=lambda i: (blocks[i].begin, -max(blocks[i].sizes)))
    while True:
        search = _Search(blocks, order, bound)
        if search.place(0):
            return Arena(bound, least, tuple(search.offsets[i] for i in range(len(blocks))))
        if search.next_bound is None:
            raise SqueezekitError("no place for its maps in memory was found; choose another network")
        bound = search.next_bound


class _Search:
    def __init__(self, blocks: Sequence[Block], order: Sequence[int], bound: int) -> None:
        self._blocks, self._order, self._bound = blocks, order, bound
        self._tries = 0
        self.offsets: dict[int, int] = {}
        # The smallest arena that a place which was too far out would have needed.
        self.next_bound: int | None = None

    def place(self, depth: int) -> bool:
        """Place this block of the order and all that follow."""
        if depth == len(self._order):
            return True
        index = self._order[depth]
        for offset in self._places(index):
            self._tries += 1
            if self._tries > MOST_TRIES:
                return False
            self.offsets[index] = offset
            if self.place(depth + 1):
                return True
            del self.offsets[index]
        return False

    def _places(self, index: int) -> list[int]:
        block = self._blocks[index]
        size = max(block.sizes)
        met = [(start, pair) for i, start in self.offsets.items() for pair in block.beside(self._blocks[i])]
        wanted = {0, self._bound - size}
        for start, (ours, theirs) in met:
            wanted |= {start + theirs, start - ours}
        found = []
        for offset in sorted(wanted):
            if offset < 0 or any(offset < start + theirs and start < offset + ours for start, (ours, theirs) in met):
                continue
            if offset + size <= self._bound:
                found.append(offset)
            elif self.next_bound is None or offset + size < self.next_bound:
                self.next_bound = offset + size
        return found
