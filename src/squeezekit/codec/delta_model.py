"""The context model of deltas: integers [rows, columns, taps], predicted from others of the same shape that are known.

Whether an integer has changed is predicted from its old magnitude and from how often those of its row, its column, its input
channel and its neighbours have changed. The rest of a change is its direction, up or down, and its distance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from squeezekit.codec.coder_tables import BUDGET
from squeezekit.codec.compiled import inlined, loop
from squeezekit.codec.integer_model import LEVELS, average_level, sign_index
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
from squeezekit.codec.tensor_list import MAX_BIT_LENGTH

INPUTS = 6
CONTEXTS = 1024  # Of each input.
# Shares of changed integers have sixteen fractional bits and begin with 1/16; their levels are taken from the upper twelve.
ONE, INITIAL_SHARE, LEVEL_SHIFT = 1 << 16, 1 << 12, 4
MAX_MAGNITUDE = 15  # A larger old magnitude counts as this one.
LENGTHS = MAX_BIT_LENGTH + 2  # Bit lengths of a distance.
LOWER_BITS = 1 << 8  # Slots for the lower bits of each length, found by the leading ones.


class DeltaModel(NamedTuple):
    """Predicts changes of integers."""

    changed: BitModels
    mixer: Mixer
    direction: BitModels
    length: BitModels
    lower: BitModels


def new_delta_model() -> DeltaModel:
    """A model that has seen nothing."""
    return DeltaModel(
        new_bit_models(INPUTS * CONTEXTS),
        new_mixer(1, INPUTS),
        new_bit_models(3 * 3 * 9),
        new_bit_models((MAX_MAGNITUDE + 1) * LENGTHS),
        new_bit_models(LENGTHS * LOWER_BITS),
    )


@inlined
def _distance(coder: Coder, model: DeltaModel, size: int, distance: int) -> int:
    """Code a distance, 1 or more: its bit length in unary, then its lower bits; `size` is the old magnitude, at most 15."""
    length, first = 1, size * LENGTHS
    while length < LENGTHS - 1 and code_adaptive_bit(coder, model.length, first + length, 1 if distance >> length else 0):
        length += 1
    value = 1
    for place in range(length - 2, -1, -1):
        slot = length * LOWER_BITS + (value if value < LOWER_BITS else place)
        value = 2 * value + code_adaptive_bit(coder, model.lower, slot, (distance >> place) & 1)
    return value


@loop
def code_delta(coder: Coder, model: DeltaModel, old: Integers, new: Integers) -> None:
    """Write `new`, int64 [rows, columns, taps], or read into it, where `old` is known; differences are below 2**25."""
    rows, columns, taps = old.shape
    slots = model.mixer.slots
    by_column = np.full((columns, taps), INITIAL_SHARE, np.int64)
    by_channel = np.full(columns, INITIAL_SHARE, np.int64)
    row = INITIAL_SHARE
    for r in range(rows):
        recent = row
        for c in range(columns):
            for t in range(taps):
                if coder.decoding and coder.registers[BUDGET] < 0:
                    return
                was = old[r, c, t]
                size = min(abs(was), MAX_MAGNITUDE)
                before = new[r, c, t - 1] - old[r, c, t - 1] if t else 0
                above = new[r - 1, c, t] - old[r - 1, c, t] if r else 0
                beside = new[r, c - 1, t] - old[r, c - 1, t] if c else 0
                neighbors = (1 if before else 0) + (2 if above else 0) + (4 if beside else 0)
                row_level, channel_level = average_level(row >> LEVEL_SHIFT), average_level(by_channel[c] >> LEVEL_SHIFT)
                slots[0] = size
                slots[1] = CONTEXTS + row_level * LEVELS + channel_level
                slots[2] = 2 * CONTEXTS + size * LEVELS + row_level
                slots[3] = 3 * CONTEXTS + size * 8 + neighbors
                slots[4] = 4 * CONTEXTS + min(size, 7) * LEVELS + average_level(by_column[c, t] >> LEVEL_SHIFT)
                slots[5] = 5 * CONTEXTS + min(size, 7) * LEVELS + average_level(recent >> LEVEL_SHIFT)
                moved = code_mixed_bit(coder, model.changed, model.mixer, 0, 1 if new[r, c, t] != was else 0)
                if moved:
                    old_value = sign_index(was) + 2 * min(size - 1, 3) if was else 0
                    slot = (3 * sign_index(before) + sign_index(above)) * 9 + old_value
                    up = code_adaptive_bit(coder, model.direction, slot, 1 if new[r, c, t] > was else 0)
                    distance = _distance(coder, model, size, abs(new[r, c, t] - was))
                    new[r, c, t] = was + distance if up else was - distance
                else:
                    new[r, c, t] = was
                share = ONE if moved else 0
                row += (share - row) >> 6
                recent += (share - recent) >> 4
                by_column[c, t] += (share - by_column[c, t]) >> 4
                by_channel[c] += (share - by_channel[c]) >> 5
