"""A binary range coder with adaptive and mixed probabilities, in integer arithmetic.

One function serves both directions: it writes a bit and returns it, or reads a bit and returns it, so encoder and decoder
cannot differ. Every number here is part of the format (docs/reference/sqz-format.md): changing one makes files unreadable.

The coder is carry-less, with 32-bit bounds. Probabilities have 16 bits. A mixed prediction is the logistic mix of several
adaptive ones (Mahoney, 2005, “Adaptive weighing of context models for lossless data compression”, section 3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from squeezekit.codec.coder_tables import (
    BUDGET,
    CODE,
    HALF,
    HIGH,
    INITIAL_WEIGHT,
    LOW,
    MASK,
    MAX_COUNT,
    POSITION,
    rate_table,
    squash_table,
    stretch_table,
)
from squeezekit.codec.compiled import inlined, share_tables

Integers = NDArray[np.int64]

MIN_PROBABILITY = 32  # Of 65,536, for a one as for a zero.
LEARNING_SHIFT = 16  # The learning rate of a mixer is 2 to the power of minus this.

SQUASH: Integers = np.array(squash_table(), np.int64)
# The inverse of SQUASH, for probabilities of 12 bits.
STRETCH: Integers = np.array(stretch_table(SQUASH.tolist()), np.int64)
RATE: Integers = np.array(rate_table(), np.int64)
share_tables(SQUASH, STRETCH, RATE)


class Coder(NamedTuple):
    """An encoder or a decoder: int64 registers [5] (LOW, HIGH, CODE, POSITION, BUDGET), its bytes, and its direction."""

    registers: Integers
    buffer: NDArray[np.uint8]
    decoding: bool


class BitModels(NamedTuple):
    """Adaptive probabilities [slots]: that of a one, of 65,536, and how many bits each has seen."""

    probabilities: Integers
    counts: Integers


class Mixer(NamedTuple):
    """Weights [sets, inputs] of a logistic mix, and room [inputs] for the slots and the predictions of one bit."""

    weights: Integers
    slots: Integers
    inputs: Integers


def encoder(capacity: int) -> Coder:
    """A coder that writes at most `capacity` bytes."""
    return Coder(np.array([0, MASK, 0, 0, 0], np.int64), np.zeros(capacity + 8, np.uint8), False)


def decoder(data: bytes, budget: int) -> Coder:
    """A coder that reads `data` and stops, its BUDGET below zero, at more than `budget` bits."""
    first = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
    return Coder(np.array([0, MASK, first, 4, budget], np.int64), np.frombuffer(data, np.uint8).copy(), True)


def finish(coder: Coder) -> bytes:
    """End an encoder: its bytes, as few as decode right when zeros follow."""
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
    """Whether a decoder has read more than there is: bits beyond its budget, or bytes beyond the end and its read-ahead."""
    return bool(coder.registers[BUDGET] < 0 or coder.registers[POSITION] > len(coder.buffer) + 4)


def new_bit_models(count: int) -> BitModels:
    """`count` probabilities of one half."""
    return BitModels(np.full(count, HALF, np.int64), np.zeros(count, np.int64))


def new_mixer(sets: int, inputs: int) -> Mixer:
    """A mixer of `inputs` predictions with `sets` of equal weights."""
    return Mixer(np.full((sets, inputs), INITIAL_WEIGHT, np.int64), np.zeros(inputs, np.int64), np.zeros(inputs, np.int64))


@inlined
def code_bit(coder: Coder, probability: int, bit: int) -> int:
    """Write `bit`, or read one; `probability`, of 65,536, is that of a one."""
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
            registers[CODE] = ((registers[CODE] << 8) & MASK) | byte
        else:
            buffer[registers[POSITION]] = high >> 24
        registers[POSITION] += 1
        low = (low << 8) & MASK
        high = ((high << 8) & MASK) | 255
    registers[LOW], registers[HIGH] = low, high
    registers[BUDGET] -= 1
    return bit


@inlined
def update_probability(models: BitModels, slot: int, bit: int) -> None:
    """Move a probability towards `bit`, by less the more bits it has seen."""
    count = models.counts[slot]
    models.probabilities[slot] += (((bit << 16) - models.probabilities[slot]) * RATE[count]) >> 16
    if count < MAX_COUNT:
        models.counts[slot] = count + 1


@inlined
def code_adaptive_bit(coder: Coder, models: BitModels, slot: int, bit: int) -> int:
    """Write `bit`, or read one, with the probability in `slot`, and update it."""
    probability = min(max(models.probabilities[slot], MIN_PROBABILITY), 65536 - MIN_PROBABILITY)
    bit = code_bit(coder, probability, bit)
    update_probability(models, slot, bit)
    return bit


@inlined
def code_mixed_bit(coder: Coder, models: BitModels, mixer: Mixer, chosen: int, bit: int) -> int:
    """Write `bit`, or read one, with the mix of the probabilities in `mixer.slots` by the set `chosen` of weights; update all."""
    weights, slots, inputs = mixer.weights[chosen], mixer.slots, mixer.inputs
    total = 0
    for i in range(len(slots)):
        inputs[i] = STRETCH[models.probabilities[slots[i]] >> 4]
        total += weights[i] * inputs[i]
    place = min(max(total >> 16, -2047), 2047) + 2048
    probability = min(max(SQUASH[place], MIN_PROBABILITY), 65536 - MIN_PROBABILITY)
    bit = code_bit(coder, probability, bit)
    error = (bit << 16) - probability
    for i in range(len(slots)):
        weights[i] += (inputs[i] * error) >> LEARNING_SHIFT
        update_probability(models, slots[i], bit)
    return bit
