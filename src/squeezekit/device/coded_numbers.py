"""The coded texts and tensors of a `.sqz` file, decoded by C: the same numbers as by `codec/tensors.py`."""

from __future__ import annotations

import ctypes
from array import array
from dataclasses import dataclass
from math import prod

from ..codec.coder_tables import (
    BUDGET,
    COARSE,
    CONTEXTS,
    FINE,
    HALF,
    INITIAL_WEIGHT,
    INPUTS,
    LENGTHS,
    MASK,
    ORDERS,
    POSITION,
    SIGN_SLOTS,
    SIGNS,
    SLOTS,
    log_scales,
)
from ..codec.tensor_list import (
    BITS_PER_BYTE,
    CODEBOOK,
    FLOAT32,
    FREE_BITS,
    FREE_VALUES,
    GRID,
    PLAIN,
    QUANTIZED,
    VALUES_PER_BYTE,
    StoredTensor,
    read_list,
    split_tensors,
)
from ..codec.varint import ByteReader
from ..modelfile.container import coded_text
from ..system.errors import SqueezekitError
from .library import library

Words = tuple[int, ...]
BITS_OF_BYTE = 8
# Each takes 28 bytes at most while it is decoded.
MOST_VALUES = 1 << 23


@dataclass(frozen=True)
class Tensor:
    """Numbers in float32 of a shape, row by row.

    Of quantised ones, also the `scales` of rows, and the `largest` magnitude of each row's integers.
    """

    shape: tuple[int, ...]
    floats: array[float]
    scales: array[float] | None = None
    largest: array[int] | None = None


def decode_text(data: bytes) -> bytes:
    """A text of UTF-8; raises SqueezekitError for one that is cut short."""
    length, stream, budget = coded_text(data)
    coder = _Coder(stream, budget)
    text = coder.text(length, _ByteModel())
    if coder.exhausted:
        raise SqueezekitError("damaged: a text in it is cut short; get the file again")
    return text


def decode_tensors(data: bytes) -> dict[str, Tensor]:
    """All tensors by name; raises SqueezekitError for what no `.sqz` file of ours holds."""
    coded, models = split_tensors(data), _IntegerModel()
    coder = _Coder(coded.stream, FREE_BITS + BITS_PER_BYTE * len(data))
    text = coder.text(coded.header_bytes, _ByteModel())
    coder.check()
    raw, tensors = ByteReader(data, coded.raw), dict[str, Tensor]()
    found = read_list(text, FREE_VALUES + VALUES_PER_BYTE * len(data))
    if (count := sum(prod(stored.shape) for stored in found)) > MOST_VALUES:
        raise SqueezekitError(f"holds {count:,} weights, and a device takes at most {MOST_VALUES:,}; make the network smaller")
    for stored in found:
        tensors[stored.name] = _decoded(stored, coder, models, raw)
        coder.check()
    if data[raw.position :].strip(b"\0"):
        raise SqueezekitError("tensors are damaged: something follows them; get the file again")
    return tensors


def _decoded(stored: StoredTensor, coder: _Coder, models: _IntegerModel, raw: ByteReader) -> Tensor:
    if stored.dtype != FLOAT32:
        raise SqueezekitError("damaged: its weights are not float32; get the file again")
    size = prod(stored.shape)
    floats, scales, largest = array("f", bytes(4 * size)), None, None
    if stored.encoding == PLAIN:
        planes = b"".join(coder.plane(size) if stored.coded >> i & 1 else raw.read_bytes(size) for i in range(4))
        library().floats_of_planes(planes, size, _at(floats))
    elif stored.encoding in (CODEBOOK, GRID):
        integers = coder.integers(stored.shape, stored.bits, models)
        entries = array("f", stored.entries)
        if stored.encoding == GRID:
            library().floats_of_integers(_at(integers), 1, size, _at(entries), _at(floats))
        elif not library().floats_of_codebook(_at(integers), size, _at(entries), len(entries), stored.center, _at(floats)):
            raise SqueezekitError("tensors are damaged: an index is outside its codebook; get the file again")
    else:
        rows = stored.shape[0]
        known = log_scales(COARSE if stored.encoding == QUANTIZED else FINE)
        steps = coder.integers((rows,), stored.scale_bits, models)
        scales = array("f", (known[min(max(step + stored.center, 0), len(known) - 1)] for step in steps))
        integers, largest = coder.integers(stored.shape, stored.bits, models), array("q", bytes(8 * rows))
        library().floats_of_integers(_at(integers), rows, size // rows, _at(scales), _at(floats))
        library().largest_integers(_at(integers), rows, size // rows, _at(largest))
    if not library().all_finite(_at(floats), size):
        raise SqueezekitError(f"holds weights that are no finite numbers, in '{stored.name}'; train the network again")
    return Tensor(stored.shape, floats, scales, largest)


def _at(numbers: array[int] | array[float]) -> int:
    return numbers.buffer_info()[0]


class _Bits:
    """Adaptive probabilities, and how many bits each has seen."""

    def __init__(self, count: int) -> None:
        self.probabilities, self.counts = array("q", [HALF]) * count, array("q", bytes(8 * count))

    def words(self) -> Words:
        return _words(self.probabilities) + _words(self.counts)


class _Mixer:
    """Weights [sets, inputs], and room for the slots and predictions of one bit."""

    def __init__(self, sets: int, inputs: int) -> None:
        self._weights, self._sets, self._inputs = array("q", [INITIAL_WEIGHT]) * (sets * inputs), sets, inputs
        self._slots, self._predictions = array("q", bytes(8 * inputs)), array("q", bytes(8 * inputs))

    def words(self) -> Words:
        return (_at(self._weights), self._sets, self._inputs, *_words(self._slots), *_words(self._predictions))


class _ByteModel:
    """Predicts a byte from the three before it."""

    def __init__(self) -> None:
        self.bits, self.mixer = _Bits(ORDERS * SLOTS), _Mixer(BITS_OF_BYTE, ORDERS)


class _IntegerModel:
    """Predicts quantised weights; all tensors of a file share one."""

    def __init__(self) -> None:
        self.lengths, self.mixer = _Bits(INPUTS * CONTEXTS * LENGTHS), _Mixer(LENGTHS, INPUTS)
        self.rest = _Bits(SIGNS + SIGN_SLOTS)


class _Coder:
    """Decodes a stream, at most `budget` bits of it, by the functions of codec/native/coder.c, whose arguments are words."""

    def __init__(self, stream: bytes, budget: int) -> None:
        first = int.from_bytes(stream[:4].ljust(4, b"\0"), "big")
        self._registers, self._stream = array("q", [0, MASK, first, 4, budget]), array("B", stream)

    @property
    def exhausted(self) -> bool:
        """Whether more was read than there is: bits beyond the budget, or bytes beyond the end and its read-ahead."""
        return self._registers[BUDGET] < 0 or self._registers[POSITION] > len(self._stream) + 4

    def check(self) -> None:
        if self.exhausted:
            raise SqueezekitError("tensors are damaged or cut short; get the file again")

    def text(self, count: int, model: _ByteModel) -> bytes:
        found = array("B", bytes(count))
        self._call("code_bytes", *model.bits.words(), *model.mixer.words(), *_words(found))
        return found.tobytes()

    def plane(self, count: int) -> bytes:
        """Each byte predicted from how often it came before."""
        found, bits = array("B", bytes(count)), _Bits(256)
        self._call("code_byte_plane", *bits.words(), *_words(found))
        return found.tobytes()

    def integers(self, shape: tuple[int, ...], max_bits: int, model: _IntegerModel) -> array[int]:
        """Integers [rows, columns, taps], of a shape of more sides its further ones together."""
        size = prod(shape)
        rows, columns = shape[:2] if len(shape) > 1 else (1, size)
        found = array("q", bytes(8 * size))
        if size:
            taps = prod(shape[2:])
            by_column, by_channel = array("q", bytes(8 * columns * taps)), array("q", bytes(8 * columns))
            models = (*model.lengths.words(), *model.mixer.words(), *model.rest.words())
            room = (*_words(by_column), *_words(by_channel))
            self._call("code_integers", *models, _at(found), rows, columns, taps, max_bits, *room)
        return found

    def _call(self, name: str, *words: int) -> None:
        words = (*_words(self._registers), *_words(self._stream), 1, *words)
        getattr(library(), name)((ctypes.c_int64 * len(words))(*words))


def _words(numbers: array[int]) -> Words:
    return numbers.buffer_info()
