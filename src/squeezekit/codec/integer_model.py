"""The context model of quantised weights: integers [rows, columns, taps].

Rows are output channels, columns input channels, taps the positions of a kernel. An integer is coded as the bit length of its
magnitude, in unary; then its lower bits; then its sign. The bit length is predicted from the magnitudes so far in the same row,
column, input channel and kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from squeezekit.codec.coder_tables import BUDGET, CONTEXTS, INPUTS, LENGTHS, LOWER_BITS, SIGN_SLOTS, SIGNS
from squeezekit.codec.compiled import inlined, loop
from squeezekit.codec.range_coder import (
    BitModels,
    Coder,
    Integers,
    Mixer,
    code_adaptive_bit,
    code_mixed_bit,
    new_bit_models,
    new_mixer,
)

LEVELS = 20  # Classes of average magnitudes.
INITIAL_AVERAGE = 128  # Half a step; averages have eight fractional bits.
MAX_AVERAGED = 63  # A larger magnitude counts as this one in averages.


class IntegerModel(NamedTuple):
    """Predicts quantised weights; all tensors of a file share one."""

    lengths: BitModels
    mixer: Mixer
    rest: BitModels


def new_integer_model() -> IntegerModel:
    """A model that has seen nothing."""
    return IntegerModel(
        new_bit_models(INPUTS * CONTEXTS * LENGTHS), new_mixer(LENGTHS, INPUTS), new_bit_models(SIGNS + SIGN_SLOTS)
    )


@inlined
def average_level(average: int) -> int:
    """The class of an average, two for each doubling: 0 below 1/64, up to 19."""
    if average < 4:
        return 0
    doublings = 0
    while average >= 8:
        average >>= 1
        doublings += 1
    return min(1 + 2 * doublings + ((average >> 1) & 1), LEVELS - 1)


@inlined
def sign_index(value: int) -> int:
    """0 for zero, 1 for positive, 2 for negative."""
    return 1 if value > 0 else (2 if value < 0 else 0)


@inlined
def _length(coder: Coder, model: IntegerModel, max_bits: int, length: int) -> int:
    """Code the bit length of a magnitude, 0 to `max_bits`, in unary; the contexts are in the mixer's slots."""
    slots = model.mixer.slots
    for step in range(max_bits):
        if not code_mixed_bit(coder, model.lengths, model.mixer, step, 1 if length > step else 0):
            return step
        for i in range(len(slots)):
            slots[i] += 1
    return max_bits


@inlined
def _lower_bits(coder: Coder, bits: BitModels, length: int, magnitude: int) -> int:
    """Code the bits of a magnitude below its leading one; returns the magnitude."""
    value = 1
    for place in range(length - 2, -1, -1):
        # Beyond twelve bits the context is the place alone.
        slot = length * LOWER_BITS + (value if value < LOWER_BITS else place)
        value = 2 * value + code_adaptive_bit(coder, bits, slot, (magnitude >> place) & 1)
    return value


@loop
def code_integers(coder: Coder, model: IntegerModel, values: Integers, max_bits: int) -> None:
    """Write `values`, int64 [rows, columns, taps], or read into them; magnitudes are below 2**max_bits."""
    rows, columns, taps = values.shape
    slots = model.mixer.slots
    by_column = np.full((columns, taps), INITIAL_AVERAGE, np.int64)
    by_channel = np.full(columns, INITIAL_AVERAGE, np.int64)
    row = INITIAL_AVERAGE
    for r in range(rows):
        recent = row
        for c in range(columns):
            kernel_sum = 0
            for t in range(taps):
                if coder.decoding and coder.registers[BUDGET] < 0:
                    return
                above = values[r - 1, c, t] if r else 0
                before = values[r, c, t - 1] if t else 0
                upper = values[r, c, t - 3] if t >= 3 else 0
                beside = values[r, c - 1, t] if c else 0
                row_level, column_level = average_level(row), average_level(by_column[c, t])
                neighbors = min(abs(before), 3) * 64 + min(abs(upper), 3) * 16 + min(abs(beside), 3) * 4 + min(abs(above), 3)
                in_kernel = average_level((kernel_sum << 8) // t) if t else average_level(recent)
                slots[0] = min(t, 31)
                slots[1] = CONTEXTS + row_level * LEVELS + average_level(by_channel[c])
                slots[2] = 2 * CONTEXTS + column_level
                slots[3] = 3 * CONTEXTS + row_level * LEVELS + column_level
                slots[4] = 4 * CONTEXTS + neighbors
                slots[5] = 5 * CONTEXTS + in_kernel * LEVELS + average_level(recent)
                for i in range(INPUTS):
                    slots[i] *= LENGTHS

                value = values[r, c, t]
                magnitude, length = abs(value), 0
                while magnitude >> length:
                    length += 1
                length = _length(coder, model, max_bits, length)
                magnitude = _lower_bits(coder, model.rest, length, magnitude) if length else 0
                if magnitude:
                    slot = SIGNS + 3 * sign_index(before) + sign_index(above)
                    negative = code_adaptive_bit(coder, model.rest, slot, 1 if value < 0 else 0)
                    values[r, c, t] = -magnitude if negative else magnitude

                size = min(magnitude, MAX_AVERAGED)
                kernel_sum += size
                row += ((size << 8) - row) >> 5
                recent += ((size << 8) - recent) >> 3
                by_column[c, t] += ((size << 8) - by_column[c, t]) >> 4
                by_channel[c] += ((size << 8) - by_channel[c]) >> 5
