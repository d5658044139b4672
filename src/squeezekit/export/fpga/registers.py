"""Registers of a circuit, counted as the modules in `verilog` declare them."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from squeezekit.export.fpga.circuit import Circuit, Multiplication
from squeezekit.export.fpga.memories import CircuitMemory, is_by_pixel, map_queue, part_queue, rows_kept
from squeezekit.integer.plan import IntegerConvolution, IntegerHead

# Synthesis leaves out those that never change; 0.93 and 0.91 were left of two circuits that Yosys made for ECP5.
KEPT = 0.92


def registers_of(circuit: Circuit, sharing: Mapping[int, tuple[int, int]], shapes: tuple[tuple[int, int], ...]) -> int:
    """Bits of all registers; `sharing` are filters and lanes by step, `shapes` those of blocks of memory, which have a register
    behind their words.
    """
    count = _Counter(shapes)
    found = sum(count.step(circuit, one, *sharing[one.number]) for one in circuit.multiplications)
    found += sum(count.made(circuit, index) for index in range(1, len(circuit.plan.feature_maps)))
    for readers in circuit.readers.values():
        found += (len(readers) if len(readers) > 1 else 0) + sum(count.fifo(reader.queue) for reader in readers if reader.queue)
    return round(KEPT * found)


def _bits(values: int) -> int:
    """Of a counter of so many values."""
    return max((values - 1).bit_length(), 1)


class _Counter:
    """One method for each module."""

    def __init__(self, shapes: tuple[tuple[int, int], ...]) -> None:
        self._shapes = shapes

    def step(self, circuit: Circuit, one: Multiplication, filters: int, lanes: int) -> int:
        step = circuit.plan.steps[one.number]
        groups = ceil(one.outputs / filters)
        if isinstance(step, IntegerHead):
            source = circuit.map(step.source)
            mean, channels = (255 * source.height * source.width).bit_length(), _bits(one.channels)
            average = (
                self._read(CircuitMemory(one.channels, mean)) + mean + 3 * channels + 22 + _bits(source.height * source.width + 1)
            )
            logits = 3 * one.total_bits + 5 * one.gain_bits + 10
            window = self._window(1, 1, one.channels, 1, 1, 0, lanes, 2, groups, one.data, False)
            return average + window + self._multiply(one, filters, lanes) + logits
        assert isinstance(step, IntegerConvolution)
        source = circuit.map(step.source)
        height, width = (source.height * source.width, 1) if is_by_pixel(step) else (source.height, source.width)
        rows = rows_kept(step, width * one.channels // lanes)
        shape = (height, width, one.channels, step.kernel, step.stride, step.padding)
        bordered = step.padding > 0 and len(set(step.border)) > 1
        window = self._window(*shape, lanes, rows, groups, one.data, bordered)
        return window + self._multiply(one, filters, lanes) + self._rescale(one)

    def made(self, circuit: Circuit, index: int) -> int:
        maker, shape = circuit.makers[index], circuit.map(index)
        depth = map_queue(circuit, index)
        found = self.fifo(depth) if depth else 0
        if len(maker.convolutions) > 1:
            filters = [len(circuit.convolution(number).weights) for number in maker.convolutions]
            found += sum(self.fifo(part_queue(count)) for count in filters) + _bits(shape.channels) + 1
        if maker.size:
            # Columns are as many as rows, or nearly so.
            found += self._pool(shape.channels, 2 * shape.width) + self._pool(shape.width * shape.channels, 2 * shape.height)
        return found + (60 if maker.residual else 0)

    def fifo(self, depth: int) -> int:
        return 3 * _bits(depth) + 2 + self._read(CircuitMemory(depth, 8))

    def _pool(self, inner: int, places: int) -> int:
        return 3 * _bits(inner) + _bits(places + 1) + 8 + 16 + 8 + self._read(CircuitMemory(inner, 8))

    def _window(
        self, h: int, w: int, c: int, k: int, stride: int, pad: int, lanes: int, rows: int, repeat: int, data: int, bordered: bool
    ) -> int:
        words, out_h, out_w = c // lanes, (h + 2 * pad - k) // stride + 1, (w + 2 * pad - k) // stride + 1
        size, held = rows * w * words, _bits(rows + 1)
        counters = (
            _bits(lanes + 1) + _bits(words + 1) + 2 * _bits(k + 1) + _bits(repeat + 1) + _bits(out_w + 1) + _bits(out_h + 1)
        )
        signed = _bits(max(h, w) + 2 * pad + k + stride) + 1
        places = signed * (4 if pad else 1 if k > 1 or stride > 1 else 0)
        addresses = 6 * _bits(size) + 2 * _bits(2 * rows)
        words_read = lanes * (self._read(CircuitMemory(rows * w * words, data)) + (data if bordered else 0))
        return counters + places + addresses + 3 * held + 6 + words_read

    def _multiply(self, one: Multiplication, filters: int, lanes: int) -> int:
        groups, products = ceil(one.outputs / filters), filters * lanes
        words = groups * one.taps * one.channels // lanes
        weights = self._read(CircuitMemory(words, products * one.bits, constant=True)) + products * one.bits
        # Synthesis keeps one register of a value for all filters.
        stages = 3 * lanes * one.data + products * (one.data + 2 * one.bits) + 3 * filters * one.sum_bits
        return weights + stages + 15 + _bits(words) + _bits(filters + 1) + _bits(groups + 1) + 2

    def _rescale(self, one: Multiplication) -> int:
        table = self._read(CircuitMemory(one.outputs, one.total_bits + one.gain_bits, constant=True))
        return 6 + _bits(one.outputs + 1) + table + one.sum_bits + 4 * one.total_bits + 4 * one.gain_bits + 8

    def _read(self, memory: CircuitMemory) -> int:
        """The register behind a memory's words, where no block of memory has it."""
        return 0 if memory.blocks(self._shapes) else memory.width
