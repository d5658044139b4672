"""The numbers and tables of the coder, and the scales of weights, in integer arithmetic: the same on every machine.

Every number here is part of the format (docs/reference/sqz-format.md): changing one makes files unreadable.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cache

from .tensor_list import MAX_BIT_LENGTH

# Registers of a coder, whose bounds have 32 bits.
LOW, HIGH, CODE, POSITION, BUDGET = range(5)
MASK = (1 << 32) - 1
HALF = 1 << 15  # The first probability of a bit, of 65,536.
INITIAL_WEIGHT = 19_661  # 0.3 of 65,536.
MAX_COUNT = 255  # Bits after which a probability adapts at a constant rate.

# The model of bytes: contexts are the 0 to 3 bytes before, those of 2 and 3 share slots by a hash.
ORDERS, SLOTS = 4, 1 << 16
# The model of integers: contexts of each input, and slots of one context, one for each bit of the unary length.
INPUTS, CONTEXTS, LENGTHS = 6, 512, 32
LOWER_BITS = 1 << 12  # Slots for the lower bits of each length, found by the leading ones.
SIGNS = (MAX_BIT_LENGTH + 1) * LOWER_BITS  # Where the slots for signs begin.
SIGN_SLOTS = 9
# How many scales of weights lie between one power of two and the next.
COARSE, FINE = 16, 64
# Scales go from 2**-64 to 2**63.
DOUBLINGS, LOWEST_POWER = 127, -64


def squash_table() -> list[int]:
    """65536 ÷ (1 + exp(-x ÷ 256)), to the nearest integer, for x from -2048 to 2047."""
    one = 1 << 128
    step, term, n = one, one, 1
    while term:
        term //= 256 * n
        step, n = step + term, n + 1
    power, rising = one, []
    for _ in range(2049):
        rising.append((131072 * power + one + power) // (2 * (one + power)))
        power = power * step >> 128
    falling = [65536 - value for value in rising[:0:-1]]
    return [min(max(value, 1), 65535) for value in falling + rising[:-1]]


def stretch_table(squash: list[int]) -> list[int]:
    """The inverse of `squash_table`, for probabilities of 12 bits."""
    return [min(max(bisect_left(squash, 16 * i + 8) - 2048, -2047), 2047) for i in range(4096)]


def rate_table() -> list[int]:
    """How far a probability moves, of 65,536, by the number of bits that it has seen."""
    return [2 * 65536 // (2 * n + 3) for n in range(MAX_COUNT + 1)]


@cache
def log_scales(resolution: int) -> tuple[float, ...]:
    """The scales 2**(exponent ÷ resolution - 64), exact in float32, for exponents from 0 to 127 · resolution."""
    mantissas = _mantissas(resolution)
    places = (divmod(exponent, resolution) for exponent in range(DOUBLINGS * resolution + 1))
    return tuple(math.ldexp(mantissas[place], power + LOWEST_POWER - 23) for power, place in places)


def _mantissas(resolution: int) -> list[int]:
    """2**(i ÷ resolution) · 2**23 to the nearest integer."""
    found = []
    for i in range(resolution):
        power = 1 << (23 * resolution + i)
        low = round(2 ** (i / resolution + 23)) - 2
        # The two nearest integers enclose the root; (2m + 1)/2 to that power tells which is nearer.
        found.append(next(m for m in range(low, low + 5) if (2 * m + 1) ** resolution > power << resolution))
    return found
