"""Context models of bytes: of names, shapes and JSON, and of the bytes of floating-point numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from squeezekit.codec.coder_tables import BUDGET, ORDERS, SLOTS
from squeezekit.codec.compiled import loop
from squeezekit.codec.range_coder import (
    BitModels,
    Coder,
    Mixer,
    code_adaptive_bit,
    code_mixed_bit,
    new_bit_models,
    new_mixer,
)

HASH = 0x2F0B4C47
MAX_CODED_BYTES = 12  # The most that one byte can cost, where it is the least likely one.


class ByteModel(NamedTuple):
    """Predicts a byte, bit by bit, from the three bytes before it."""

    bits: BitModels
    mixer: Mixer


def new_byte_model() -> ByteModel:
    """A model that has seen nothing."""
    return ByteModel(new_bit_models(ORDERS * SLOTS), new_mixer(8, ORDERS))


@loop
def code_bytes(coder: Coder, model: ByteModel, data: NDArray[np.uint8]) -> None:
    """Write bytes [n], or read into them."""
    slots = model.mixer.slots
    history = 0
    for position in range(len(data)):
        if coder.decoding and coder.registers[BUDGET] < 0:
            return
        byte, node = data[position], 1
        for place in range(8):
            slots[0] = node
            slots[1] = SLOTS + ((history & 0xFF) << 8) + node
            for order in range(2, ORDERS):
                context = history & ((1 << (8 * order)) - 1)
                slots[order] = order * SLOTS + ((((context << 8) + node) * HASH >> 12) & (SLOTS - 1))
            node = 2 * node + code_mixed_bit(coder, model.bits, model.mixer, place, (byte >> (7 - place)) & 1)
        data[position] = node & 0xFF
        history = ((history << 8) | (node & 0xFF)) & 0xFFFFFF


@loop
def code_byte_plane(coder: Coder, bits: BitModels, data: NDArray[np.uint8]) -> None:
    """Write bytes [n], or read into them, each predicted from how often it came before; `bits` has 256 slots."""
    for position in range(len(data)):
        if coder.decoding and coder.registers[BUDGET] < 0:
            return
        node = 1
        for place in range(7, -1, -1):
            node = 2 * node + code_adaptive_bit(coder, bits, node, (data[position] >> place) & 1)
        data[position] = node & 0xFF
