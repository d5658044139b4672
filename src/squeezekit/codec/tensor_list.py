"""The list that coded tensors begin with: name, shape, number format and encoding of each, read without decoding any.

docs/reference/sqz-format.md, section “Tensors”, has the layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

from ..system.errors import SqueezekitError
from .varint import ByteReader

VERSION = 1
# The work that a file may ask of a reader, by its length. An encoder that needs more appends zeros.
FREE_VALUES, VALUES_PER_BYTE = 1 << 21, 128
FREE_BITS, BITS_PER_BYTE = 1 << 21, 128
FREE_HEADER, HEADER_PER_BYTE = 1 << 16, 4
MAX_TENSORS = 4096
MAX_DIMENSIONS = 16
# Of the product of the sides that are not 0.
MAX_EXTENT = 2**40
MAX_ENTRIES = 1 << 16
MAX_BIT_LENGTH = 24  # Of the magnitude of an integer.
# Bytes of a number, by the number that stands for its format: float16, float32, float64.
ITEM_BYTES = (2, 4, 8)
FLOAT32 = 1
# Numbers that stand for encodings.
PLAIN, CODEBOOK, GRID, QUANTIZED, FINE_QUANTIZED = range(5)


class StoredTensor(NamedTuple):
    """What the list says of one tensor: the bits `coded` of its byte planes, or what its integers are counted from, and so on.

    entries: the numbers of a codebook, or the step of a grid, as they are stored. bits: of the largest magnitude of its integers;
    scale_bits: of the exponents of its scales, counted from `center`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: int
    encoding: int
    coded: int = 0
    entries: bytes = b""
    center: int = 0
    bits: int = 0
    scale_bits: int = 0


class CodedTensors(NamedTuple):
    """Coded tensors, cut into the length of their list, the coded stream, and where bytes that are not coded begin."""

    header_bytes: int
    stream: bytes
    raw: int


def split_tensors(data: bytes) -> CodedTensors:
    """Raises SqueezekitError for another version and for what is cut short."""
    start = ByteReader(data)
    version, header_length, stream_length = (start.read_integer() for _ in range(3))
    if version != VERSION:
        raise SqueezekitError(f"tensors of version {version}; this squeezekit reads version {VERSION}, install a newer one")
    stream = data[start.position : start.position + stream_length]
    if start.position + stream_length > len(data) or header_length > FREE_HEADER + HEADER_PER_BYTE * len(data):
        raise SqueezekitError("tensors are cut short; get the file again")
    return CodedTensors(header_length, stream, start.position + stream_length)


def read_list(text: bytes, max_values: int, shapes: Mapping[str, tuple[int, ...]] | None = None) -> list[StoredTensor]:
    """The tensors of a decoded list, of `max_values` numbers together at most; with `shapes`, only just these.

    Raises SqueezekitError for a list that makes no sense.
    """
    header, found, names = ByteReader(text), list[StoredTensor](), set[str]()
    for _ in range(_at_most(header.read_integer(), MAX_TENSORS)):
        name, dtype = header.read_string(), _at_most(header.read_integer(), len(ITEM_BYTES) - 1)
        shape = tuple(header.read_integer() for _ in range(_at_most(header.read_integer(), MAX_DIMENSIONS)))
        max_values -= prod(shape)
        if max_values < 0 or name in names or extent(shape) > MAX_EXTENT:
            raise SqueezekitError("tensors are damaged: their list makes no sense; get the file again")
        if shapes is not None and shapes.get(name) != shape:
            raise _others()
        names.add(name)
        found.append(_read(header, StoredTensor(name, shape, dtype, header.read_integer())))
    if not header.at_end:
        raise SqueezekitError("tensors are damaged: their list is too long; get the file again")
    if shapes is not None and names != set(shapes):
        raise _others()
    return found


def extent(shape: tuple[int, ...]) -> int:
    """The product of the sides that are not 0: NumPy cannot make every empty array."""
    return prod(side for side in shape if side)


def _read(header: ByteReader, tensor: StoredTensor) -> StoredTensor:
    """The same with what its encoding adds."""
    size = ITEM_BYTES[tensor.dtype]
    if tensor.encoding == PLAIN:
        coded = header.read_integer()
        if coded >> size:
            raise SqueezekitError("tensors are damaged: too many planes; get the file again")
        return tensor._replace(coded=coded)
    if tensor.encoding == CODEBOOK:
        count, center = header.read_integer(), header.read_integer()
        if not center < count <= MAX_ENTRIES:
            raise SqueezekitError("tensors are damaged: a codebook makes no sense; get the file again")
        bits = max(center, count - 1 - center).bit_length()
        return tensor._replace(entries=header.read_bytes(count * size), center=center, bits=bits)
    if tensor.encoding == GRID:
        return tensor._replace(entries=header.read_bytes(4), bits=_read_bits(header))
    if tensor.encoding not in (QUANTIZED, FINE_QUANTIZED):
        raise SqueezekitError(
            f"tensors have encoding {tensor.encoding}, which is unknown here; get the file again, or a newer squeezekit"
        )
    # Scales of empty rows would be numbers that nothing limits.
    if tensor.dtype != FLOAT32 or not tensor.shape or not prod(tensor.shape):
        raise SqueezekitError("tensors are damaged: quantised weights make no sense; get the file again")
    return tensor._replace(center=header.read_integer(), scale_bits=_read_bits(header), bits=_read_bits(header))


def _read_bits(header: ByteReader) -> int:
    bits = header.read_integer()
    if bits > MAX_BIT_LENGTH:
        raise SqueezekitError("tensors are damaged: an integer is too long; get the file again")
    return bits


def _at_most(value: int, most: int) -> int:
    if value > most:
        raise SqueezekitError("tensors are damaged: a number in their list is too large; get the file again")
    return value


def _others() -> SqueezekitError:
    return SqueezekitError("damaged: its weights are not those of its network; get the file again")
