"""The memories of a circuit, by the modules that hold them: words and bits of each, and where tools put them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from squeezekit.export.fpga.circuit import Circuit, Multiplication
from squeezekit.integer.plan import IntegerConvolution, IntegerHead

# Bytes of a block of memory of an ECP5.
BLOCK = 2048


@dataclass(frozen=True)
class CircuitMemory:
    """`depth` words of `width` bits; `constant` for weights and tables."""

    depth: int
    width: int
    constant: bool = False

    @property
    def bits(self) -> int:
        """All of them."""
        return self.depth * self.width

    def blocks(self, shapes: Sequence[tuple[int, int]]) -> int:
        """Blocks of memory that take it, in their best shape (words by bits); 0 for what synthesis puts into logic."""
        if not shapes or self._in_logic():
            return 0
        return min(ceil(self.depth / depth) * ceil(self.width / width) for depth, width in shapes)

    @property
    def cells(self) -> int:
        """Cells of 16 words of 4 bits that it takes in logic; 0 for constants, and for what is in blocks."""
        return 0 if self.constant or not self._in_logic() else self._cells()

    def _in_logic(self) -> bool:
        """As Yosys decides: by the bits of constants, and by the cells that others would take."""
        return self.bits < 2048 if self.constant else self._cells() <= 20

    def _cells(self) -> int:
        return ceil(self.depth / 16) * ceil(self.width / 4)


def is_by_pixel(step: IntegerConvolution) -> bool:
    """Whether a filter sees one pixel, so that a picture may be taken for one column."""
    return step.kernel == 1 and step.stride == 1 and step.padding == 0


def rows_kept(step: IntegerConvolution, row: int) -> int:
    """Rows in a window: those under the filters and those that come in meanwhile, and more, as far as the block of memory that
    is taken for them has room; of `row` words each.
    """
    least = step.kernel + step.stride
    if is_by_pixel(step):
        return least
    return max(least, min(least + step.kernel, ceil(least * row / BLOCK) * BLOCK // row))


def part_queue(filters: int) -> int:
    """Bytes in the queue behind a part of a feature map: it goes on while channels of another part pass."""
    return max(filters, 2)


def map_queue(circuit: Circuit, index: int) -> int:
    """Bytes in the queue behind a feature map, 0 for none.

    A pooling makes a row while its last rows come: its reader works on while it rests. Where streams are joined or forked, a
    short queue ends the chain of gates from one side's ready to the other's.
    """
    maker, shape = circuit.makers[index], circuit.map(index)
    if maker.size:
        return max(shape.width * shape.channels, 2)
    return 2 if len(maker.convolutions) > 1 or maker.residual or len(circuit.readers[index]) > 1 else 0


def memories_of(circuit: Circuit, sharing: Mapping[int, tuple[int, int]]) -> Iterator[CircuitMemory]:
    """Every memory; `sharing` are filters and lanes by step."""
    for one in circuit.multiplications:
        yield from _of_step(circuit, one, *sharing[one.number])
    for index in range(1, len(circuit.plan.feature_maps)):
        yield from _of_map(circuit, index)
    for readers in circuit.readers.values():
        yield from (CircuitMemory(reader.queue, 8) for reader in readers if reader.queue)


def _of_step(circuit: Circuit, one: Multiplication, filters: int, lanes: int) -> Iterator[CircuitMemory]:
    step = circuit.plan.steps[one.number]
    assert isinstance(step, IntegerConvolution | IntegerHead)
    groups, words = ceil(one.outputs / filters), one.channels // lanes
    yield CircuitMemory(groups * one.taps * words, filters * lanes * one.bits, constant=True)
    yield CircuitMemory(one.outputs, one.total_bits + one.gain_bits, constant=True)
    if isinstance(step, IntegerHead):
        source = circuit.map(step.source)
        yield CircuitMemory(one.channels, (255 * source.height * source.width).bit_length())
        rows = 2
    else:
        width = 1 if is_by_pixel(step) else circuit.map(step.source).width
        rows = rows_kept(step, width * words) * width
    for _lane in range(lanes):
        yield CircuitMemory(rows * words, one.data)


def _of_map(circuit: Circuit, index: int) -> Iterator[CircuitMemory]:
    maker, shape = circuit.makers[index], circuit.map(index)
    if depth := map_queue(circuit, index):
        yield CircuitMemory(depth, 8)
    if len(maker.convolutions) > 1:
        yield from (CircuitMemory(part_queue(len(circuit.convolution(number).weights)), 8) for number in maker.convolutions)
    if maker.size:
        yield from (CircuitMemory(shape.channels, 8), CircuitMemory(shape.width * shape.channels, 8))
