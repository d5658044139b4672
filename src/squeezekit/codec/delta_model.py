"""The context model of changes: integers [rows, columns, taps] where others of the same shape are known already.

Whether an integer has changed follows from how large it was, and from how often those of its row, its column, its input
channel and its neighbours have; the rest of a change is its direction, towards zero or away, and how far it goes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from squeezekit.codec.integer_model import LEVELS, LONGEST, level, sign
from squeezekit.codec.range_coder import BUDGET, Bits, Coder, Integers, Mix, adaptive, fresh_bits, fresh_mix, mixed

INPUTS = 6
CONTEXTS = 1024  # Of each input.
# Shares of changed integers have sixteen fractional bits and begin with 1/16; of these, levels look at twelve.
ONE, FIRST_SHARE, LEVEL_SHIFT = 1 << 16, 1 << 12, 4
LARGE = 15  # A larger magnitude counts as this one.
LENGTHS = LONGEST + 2  # Bit lengths of a change.
LOWER = 1 << 8  # Slots for the lower bits of each length, found by the leading ones.


class DeltaModel(NamedTuple):
    """What has been learnt of the changes so far."""

    changed: Bits
    mix: Mix
    direction: Bits
    length: Bits
    lower: Bits


def fresh_delta_model() -> DeltaModel:
    """A model that has seen nothing."""
    return DeltaModel(
        fresh_bits(INPUTS * CONTEXTS),
        fresh_mix(1, INPUTS),
        fresh_bits(3 * 3 * 9),
        fresh_bits((LARGE + 1) * LENGTHS),
        fresh_bits(LENGTHS * LOWER),
    )


@njit(cache=True, inline="always")
def _distance(coder: Coder, model: DeltaModel, size: int, distance: int) -> int:
    """How far a change goes, from 1 on: its bit length in unary, then its lower bits; `size` is what it was, at most LARGE."""
    length = 1
    while length < LENGTHS - 1 and adaptive(coder, model.length, size * LENGTHS + length, 1 if distance >> length else 0):
        length += 1
    value = 1
    for place in range(length - 2, -1, -1):
        slot = length * LOWER + (value if value < LOWER else place)
        value = 2 * value + adaptive(coder, model.lower, slot, (distance >> place) & 1)
    return value


@njit(cache=True)
def code_delta(coder: Coder, model: DeltaModel, old: Integers, new: Integers) -> None:
    """Write `new`, int64 [rows, columns, taps], or fill it, where `old` is known; differences are below 2**25."""
    rows, columns, taps = old.shape
    slots = model.mix.slots
    by_column = np.full((columns, taps), FIRST_SHARE, np.int64)
    by_channel = np.full(columns, FIRST_SHARE, np.int64)
    row = FIRST_SHARE
    for r in range(rows):
        recent = row
        for c in range(columns):
            for t in range(taps):
                if coder.decoding and coder.registers[BUDGET] < 0:
                    return
                was = old[r, c, t]
                size = min(abs(was), LARGE)
                before = new[r, c, t - 1] - old[r, c, t - 1] if t else 0
                above = new[r - 1, c, t] - old[r - 1, c, t] if r else 0
                beside = new[r, c - 1, t] - old[r, c - 1, t] if c else 0
                near = (1 if before else 0) + (2 if above else 0) + (4 if beside else 0)
                row_level, channel_level = level(row >> LEVEL_SHIFT), level(by_channel[c] >> LEVEL_SHIFT)
                slots[0] = size
                slots[1] = CONTEXTS + row_level * LEVELS + channel_level
                slots[2] = 2 * CONTEXTS + size * LEVELS + row_level
                slots[3] = 3 * CONTEXTS + size * 8 + near
                slots[4] = 4 * CONTEXTS + min(size, 7) * LEVELS + level(by_column[c, t] >> LEVEL_SHIFT)
                slots[5] = 5 * CONTEXTS + min(size, 7) * LEVELS + level(recent >> LEVEL_SHIFT)
                moved = mixed(coder, model.changed, model.mix, 0, 1 if new[r, c, t] != was else 0)
                if moved:
                    slot = (3 * sign(before) + sign(above)) * 9 + (sign(was) + 2 * min(size - 1, 3) if was else 0)
                    up = adaptive(coder, model.direction, slot, 1 if new[r, c, t] > was else 0)
                    distance = _distance(coder, model, size, abs(new[r, c, t] - was))
                    new[r, c, t] = was + distance if up else was - distance
                else:
                    new[r, c, t] = was
                share = ONE if moved else 0
                row += (share - row) >> 6
                recent += (share - recent) >> 4
                by_column[c, t] += (share - by_column[c, t]) >> 4
                by_channel[c] += (share - by_channel[c]) >> 5
