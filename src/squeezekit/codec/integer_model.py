"""The context model of quantised weights: integers [rows, columns, taps] as bits that are easy to foretell.

Rows are output channels, columns input channels, taps the places of a filter. An integer is coded as the bit length of its
magnitude, in unary; then its lower bits; then its sign. Whether a weight is zero, and how large, follows from how large
those of its row, its column, its input channel and its filter were so far.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from squeezekit.codec.range_coder import BUDGET, Bits, Coder, Integers, Mix, adaptive, fresh_bits, fresh_mix, mixed

LONGEST = 24  # Bits of a magnitude.
LEVELS = 20  # Steps that averages of magnitudes are told apart by.
FIRST_AVERAGE = 128  # Half a step; averages have eight fractional bits.
INPUTS = 6
CONTEXTS = 512  # Of each input.
LENGTHS = 32  # Slots of one context: one for each bit of the unary length.
LOWER = 1 << 12  # Slots for the lower bits of each length, found by the leading ones.
SIGNS = (LONGEST + 1) * LOWER  # Where the slots for signs begin.
STEEPEST = 63  # A larger magnitude counts as this one in averages.


class Weights(NamedTuple):
    """What has been learnt of the weights so far; one for all tensors of a file."""

    lengths: Bits
    mix: Mix
    rest: Bits


def fresh_weights() -> Weights:
    """A model that has seen nothing."""
    return Weights(fresh_bits(INPUTS * CONTEXTS * LENGTHS), fresh_mix(LENGTHS, INPUTS), fresh_bits(SIGNS + 9))


@njit(cache=True, inline="always")
def level(average: int) -> int:
    """Two steps an octave: 0 below 1/64 of a step of the grid, up to 19."""
    if average < 4:
        return 0
    octave = 0
    while average >= 8:
        average >>= 1
        octave += 1
    return min(1 + 2 * octave + ((average >> 1) & 1), LEVELS - 1)


@njit(cache=True, inline="always")
def sign(value: int) -> int:
    """0 for zero, 1 for positive, 2 for negative."""
    return 1 if value > 0 else (2 if value < 0 else 0)


@njit(cache=True, inline="always")
def _length(coder: Coder, model: Weights, longest: int, length: int) -> int:
    """The bit length of a magnitude, 0 to `longest`: one bit for each step up; the contexts are in the mix's slots."""
    slots = model.mix.slots
    for step in range(longest):
        if not mixed(coder, model.lengths, model.mix, step, 1 if length > step else 0):
            return step
        for i in range(len(slots)):
            slots[i] += 1
    return longest


@njit(cache=True, inline="always")
def _lower_bits(coder: Coder, bits: Bits, length: int, magnitude: int) -> int:
    """The magnitude of that bit length: the bits below its leading one."""
    value = 1
    for place in range(length - 2, -1, -1):
        # Beyond twelve bits, the place alone.
        slot = length * LOWER + (value if value < LOWER else place)
        value = 2 * value + adaptive(coder, bits, slot, (magnitude >> place) & 1)
    return value


@njit(cache=True)
def code_integers(coder: Coder, model: Weights, values: Integers, longest: int) -> None:
    """Write `values`, int64 [rows, columns, taps], or fill them; magnitudes are below 2**longest."""
    rows, columns, taps = values.shape
    slots = model.mix.slots
    by_column = np.full((columns, taps), FIRST_AVERAGE, np.int64)
    by_channel = np.full(columns, FIRST_AVERAGE, np.int64)
    row = FIRST_AVERAGE
    for r in range(rows):
        recent = row
        for c in range(columns):
            filter_sum = 0
            for t in range(taps):
                if coder.decoding and coder.registers[BUDGET] < 0:
                    return
                above = values[r - 1, c, t] if r else 0
                before = values[r, c, t - 1] if t else 0
                upper = values[r, c, t - 3] if t >= 3 else 0
                beside = values[r, c - 1, t] if c else 0
                row_level, column_level = level(row), level(by_column[c, t])
                near = min(abs(before), 3) * 64 + min(abs(upper), 3) * 16 + min(abs(beside), 3) * 4 + min(abs(above), 3)
                in_filter = level((filter_sum << 8) // t) if t else level(recent)
                slots[0] = min(t, 31)
                slots[1] = CONTEXTS + row_level * LEVELS + level(by_channel[c])
                slots[2] = 2 * CONTEXTS + column_level
                slots[3] = 3 * CONTEXTS + row_level * LEVELS + column_level
                slots[4] = 4 * CONTEXTS + near
                slots[5] = 5 * CONTEXTS + in_filter * LEVELS + level(recent)
                for i in range(INPUTS):
                    slots[i] *= LENGTHS

                value = values[r, c, t]
                magnitude, length = abs(value), 0
                while magnitude >> length:
                    length += 1
                length = _length(coder, model, longest, length)
                magnitude = _lower_bits(coder, model.rest, length, magnitude) if length else 0
                if magnitude:
                    slot = SIGNS + 3 * sign(before) + sign(above)
                    negative = adaptive(coder, model.rest, slot, 1 if value < 0 else 0)
                    values[r, c, t] = -magnitude if negative else magnitude

                size = min(magnitude, STEEPEST)
                filter_sum += size
                row += ((size << 8) - row) >> 5
                recent += ((size << 8) - recent) >> 3
                by_column[c, t] += ((size << 8) - by_column[c, t]) >> 4
                by_channel[c] += ((size << 8) - by_channel[c]) >> 5
