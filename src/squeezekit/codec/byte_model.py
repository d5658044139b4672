"""The context model of bytes that are no weights: names, shapes, JSON, and the planes of plain floating-point numbers."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from squeezekit.codec.range_coder import BUDGET, Bits, Coder, Mix, adaptive, fresh_bits, fresh_mix, mixed

ORDERS = 4  # Contexts of 0 to 3 bytes before.
SLOTS = 1 << 16  # Of each order; contexts of 2 and 3 bytes share them by a hash.
HASH = 0x2F0B4C47
MOST_BYTES = 12  # What a byte can cost, if it comes as unexpected as can be.


def fresh_text() -> tuple[Bits, Mix]:
    """A model of bytes that has seen nothing."""
    return fresh_bits(ORDERS * SLOTS), fresh_mix(8, ORDERS)


@njit(cache=True)
def code_text(coder: Coder, bits: Bits, mix: Mix, octets: NDArray[np.uint8]) -> None:
    """Write bytes, or fill them, foretold from the three before."""
    slots = mix.slots
    history = 0
    for position in range(len(octets)):
        if coder.decoding and coder.registers[BUDGET] < 0:
            return
        octet, node = octets[position], 1
        for place in range(8):
            slots[0] = node
            slots[1] = SLOTS + ((history & 0xFF) << 8) + node
            for order in range(2, ORDERS):
                context = history & ((1 << (8 * order)) - 1)
                slots[order] = order * SLOTS + ((((context << 8) + node) * HASH >> 12) & (SLOTS - 1))
            node = 2 * node + mixed(coder, bits, mix, place, (octet >> (7 - place)) & 1)
        octets[position] = node & 0xFF
        history = ((history << 8) | (node & 0xFF)) & 0xFFFFFF


@njit(cache=True)
def code_plane(coder: Coder, bits: Bits, octets: NDArray[np.uint8]) -> None:
    """Write bytes, or fill them, each foretold from how often it came before; `bits` has 256 slots."""
    for position in range(len(octets)):
        if coder.decoding and coder.registers[BUDGET] < 0:
            return
        node = 1
        for place in range(7, -1, -1):
            node = 2 * node + adaptive(coder, bits, node, (octets[position] >> place) & 1)
        octets[position] = node & 0xFF
