"""A binary arithmetic coder with adaptive, mixed probabilities, in integers only.

One function serves both directions: a bit is written and returned, or read and returned, so that encoder and decoder cannot
come apart. Every number here is part of the format (docs/sqz-format.md): changing one makes files unreadable.

The coder is carry-less, with 32-bit borders. Probabilities have 16 bits; a prediction is the logistic mix of several
adaptive ones (Mahoney, 2005, “Adaptive weighing of context models for lossless data compression”, section 3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Integers = NDArray[np.int64]

EVEN = 1 << 15
SURE = 32  # No probability comes nearer to 0 or 65,536.
LIMIT = 255  # Bits after which a probability no longer settles.
FIRST_WEIGHT = 19_661  # 0.3 of 65,536.
LEARNING_SHIFT = 16  # How slowly a mix learns.

LOW, HIGH, CODE, POSITION, BUDGET = range(5)
WHOLE = (1 << 32) - 1


def _squash_table() -> Integers:
    """65536 ÷ (1 + exp(-x ÷ 256)), to the nearest integer, for x from -2048 to 2047; by integers, the same everywhere."""
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
    return np.minimum(np.maximum(np.array(falling + rising[:-1], np.int64), 1), 65535)


SQUASH = _squash_table()
# Its inverse, for probabilities of 12 bits.
STRETCH: Integers = np.clip(np.searchsorted(SQUASH, np.arange(4096) * 16 + 8) - 2048, -2047, 2047).astype(np.int64)
RATE: Integers = np.array([2 * 65536 // (2 * n + 3) for n in range(LIMIT + 1)], np.int64)


class Coder(NamedTuple):
    """Registers (LOW, HIGH, CODE, POSITION, BUDGET), the bytes, and which way they go."""

    registers: Integers
    buffer: NDArray[np.uint8]
    decoding: bool


class Bits(NamedTuple):
    """Adaptive probabilities: how probable a one is, of 65,536, and how many bits each has seen."""

    probabilities: Integers
    counts: Integers


class Mix(NamedTuple):
    """Weights [sets, inputs] of the mixed probabilities, and room for the slots and inputs of one bit."""

    weights: Integers
    slots: Integers
    inputs: Integers


def encoder(capacity: int) -> Coder:
    """A coder that writes at most `capacity` bytes."""
    return Coder(np.array([0, WHOLE, 0, 0, 0], np.int64), np.zeros(capacity + 8, np.uint8), False)


def decoder(data: bytes, budget: int) -> Coder:
    """A coder that reads `data` and stops, its BUDGET below zero, at more than `budget` bits."""
    first = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
    return Coder(np.array([0, WHOLE, first, 4, budget], np.int64), np.frombuffer(data, np.uint8).copy(), True)


def finished(coder: Coder) -> bytes:
    """What an encoder has written: as few bytes as decode right when zeros follow."""
    low, high, position = (int(coder.registers[i]) for i in (LOW, HIGH, POSITION))
    end = b""
    for size in range(5):
        unit = 1 << (8 * (4 - size))
        value = -(-low // unit) * unit
        if value <= high:
            end = value.to_bytes(4, "big")[:size]
            break
    return coder.buffer[:position].tobytes() + end


def exhausted(coder: Coder) -> bool:
    """Whether a decoder wanted more than there was: bits beyond its budget, or bytes beyond the end and what it reads ahead."""
    return bool(coder.registers[BUDGET] < 0 or coder.registers[POSITION] > len(coder.buffer) + 4)


def fresh_bits(count: int) -> Bits:
    """`count` probabilities that know nothing yet."""
    return Bits(np.full(count, EVEN, np.int64), np.zeros(count, np.int64))


def fresh_mix(sets: int, inputs: int) -> Mix:
    """Mixing weights that know nothing yet."""
    return Mix(np.full((sets, inputs), FIRST_WEIGHT, np.int64), np.zeros(inputs, np.int64), np.zeros(inputs, np.int64))


@njit(cache=True, inline="always")
def coded(coder: Coder, probability: int, bit: int) -> int:
    """Write `bit`, or read one: with `probability` of 65,536 it is 1."""
    registers, buffer = coder.registers, coder.buffer
    low, high = registers[LOW], registers[HIGH]
    span = high - low
    middle = low + (span >> 16) * probability + (((span & 0xFFFF) * probability) >> 16)
    if coder.decoding:
        bit = 1 if registers[CODE] <= middle else 0
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) >> 24 == 0:
        if coder.decoding:
            byte = buffer[registers[POSITION]] if registers[POSITION] < len(buffer) else 0
            registers[CODE] = ((registers[CODE] << 8) & WHOLE) | byte
        else:
            buffer[registers[POSITION]] = high >> 24
        registers[POSITION] += 1
        low = (low << 8) & WHOLE
        high = ((high << 8) & WHOLE) | 255
    registers[LOW], registers[HIGH] = low, high
    registers[BUDGET] -= 1
    return bit


@njit(cache=True, inline="always")
def learn(bits: Bits, slot: int, bit: int) -> None:
    """Move a probability towards the bit that came, less with every bit it has seen."""
    count = bits.counts[slot]
    bits.probabilities[slot] += (((bit << 16) - bits.probabilities[slot]) * RATE[count]) >> 16
    if count < LIMIT:
        bits.counts[slot] = count + 1


@njit(cache=True, inline="always")
def adaptive(coder: Coder, bits: Bits, slot: int, bit: int) -> int:
    """Code a bit with the probability in `slot`."""
    probability = min(max(bits.probabilities[slot], SURE), 65536 - SURE)
    bit = coded(coder, probability, bit)
    learn(bits, slot, bit)
    return bit


@njit(cache=True, inline="always")
def mixed(coder: Coder, bits: Bits, mix: Mix, chosen: int, bit: int) -> int:
    """Code a bit with the mix of the probabilities in `mix.slots`, by the set `chosen` of weights."""
    weights, slots, inputs = mix.weights[chosen], mix.slots, mix.inputs
    total = 0
    for i in range(len(slots)):
        inputs[i] = STRETCH[bits.probabilities[slots[i]] >> 4]
        total += weights[i] * inputs[i]
    place = min(max(total >> 16, -2047), 2047) + 2048
    probability = min(max(SQUASH[place], SURE), 65536 - SURE)
    bit = coded(coder, probability, bit)
    error = (bit << 16) - probability
    for i in range(len(slots)):
        weights[i] += (inputs[i] * error) >> LEARNING_SHIFT
        learn(bits, slots[i], bit)
    return bit
