"""Named arrays as few bytes, and back, bit for bit.

    data = encode_tensors({"weight": weight, "bias": bias})
    decode_tensors(data)["weight"]

Each array gets the encoding that suits it (`encodings.py`). The layout is that of docs/reference/sqz-format.md, section
“Tensors”.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from squeezekit.codec.byte_model import MAX_CODED_BYTES, code_bytes
from squeezekit.codec.encodings import ENCODINGS, Array, ContextModels, Encoding, Quantized, encoding_of
from squeezekit.codec.range_coder import BUDGET, POSITION, Coder, decoder, encoder, exhausted, finish
from squeezekit.codec.varint import ByteReader, ByteWriter
from squeezekit.system.errors import SqueezekitError

VERSION = 1
# The work that a file may ask of a reader, by its length. An encoder that needs more appends zeros.
FREE_VALUES, VALUES_PER_BYTE = 1 << 21, 128
FREE_BITS, BITS_PER_BYTE = 1 << 21, 128
FREE_HEADER, HEADER_PER_BYTE = 1 << 16, 4
MAX_TENSORS = 4096
MAX_DIMENSIONS = 16
# Of the product of the sides that are not 0.
MAX_EXTENT = 2**40
DTYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f2"), 1: np.dtype("<f4"), 2: np.dtype("<f8")}


def encode_tensors(tensors: Mapping[str, Array | Quantized]) -> bytes:
    """Encode arrays of float16, float32 or float64, of any shape, NaN and -0.0 included, or `Quantized` ones.

    Raises SqueezekitError for arrays of other dtypes and for more than 4,096 arrays.
    """
    return _encode(tensors)[0]


def coded_sizes(tensors: Mapping[str, Array | Quantized]) -> dict[str, int]:
    """The bytes of `encode_tensors` that each array takes; the rest is the header."""
    return dict(zip(tensors, _encode(tensors)[1], strict=True))


def decode_tensors(data: bytes) -> dict[str, Array]:
    """The arrays that `encode_tensors` wrote, dequantised; raises SqueezekitError for anything else."""
    return {
        name: tensor.dequantize() if isinstance(tensor, Quantized) else tensor
        for name, tensor in decode_stored_tensors(data).items()
    }


def decode_stored_tensors(data: bytes, shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Array | Quantized]:
    """The tensors that `encode_tensors` wrote, quantised ones as `Quantized`; raises SqueezekitError for anything else.

    With `shapes`, by name, only for a file of these tensors, and no other shape is allocated.
    """
    start = ByteReader(data)
    version, header_length, stream_length = (start.read_integer() for _ in range(3))
    if version != VERSION:
        raise SqueezekitError(f"tensors of version {version}; this squeezekit reads version {VERSION}, install a newer one")
    stream, raw = data[start.position : start.position + stream_length], ByteReader(data, start.position + stream_length)
    if start.position + stream_length > len(data) or header_length > FREE_HEADER + HEADER_PER_BYTE * len(data):
        raise SqueezekitError("tensors are cut short; get the file again")
    coder, models = decoder(stream, FREE_BITS + BITS_PER_BYTE * len(data)), ContextModels()
    header = np.zeros(header_length, np.uint8)
    code_bytes(coder, models.header, header)
    _check(coder)
    max_values = FREE_VALUES + VALUES_PER_BYTE * len(data)
    tensors = _decode_all(ByteReader(header.tobytes()), coder, models, raw, max_values, shapes)
    if shapes is not None and set(tensors) != set(shapes):
        raise _others()
    if data[raw.position :].strip(b"\0"):
        raise SqueezekitError("tensors are damaged: something follows them; get the file again")
    return tensors


def _encode(tensors: Mapping[str, Array | Quantized]) -> tuple[bytes, list[int]]:
    """The bytes, and how many of them each tensor takes."""
    if len(tensors) > MAX_TENSORS:
        raise SqueezekitError(f"{len(tensors)} arrays are too many for one file; give at most {MAX_TENSORS}")
    header = ByteWriter()
    header.write_integer(len(tensors))
    encodings = [_write_header(header, name, tensor) for name, tensor in tensors.items()]
    values = sum(prod(tensor.shape) for tensor in tensors.values())
    return _assemble(bytes(header), encodings, values)


def _write_header(header: ByteWriter, name: str, tensor: Array | Quantized) -> Encoding:
    if _extent(tensor.shape) > MAX_EXTENT:
        raise SqueezekitError(f"tensor '{name}' has sides that multiply to more than 2**40; give a smaller one")
    encoding, dtype = encoding_of(tensor), _dtype_code(name, tensor)
    header.write_string(name)
    header.write_integer(dtype)
    header.write_integer(len(tensor.shape))
    for side in tensor.shape:
        header.write_integer(side)
    header.write_integer(ENCODINGS.index(type(encoding)))
    encoding.write_header(header)
    return encoding


def _assemble(header: bytes, encodings: list[Encoding], values: int) -> tuple[bytes, list[int]]:
    models, raw, sizes = ContextModels(), bytearray(), list[int]()
    coder = encoder(MAX_CODED_BYTES * len(header) + sum(encoding.max_bytes() for encoding in encodings))
    code_bytes(coder, models.header, np.frombuffer(header, np.uint8).copy())
    for encoding in encodings:
        before = coder.registers[POSITION] + len(raw)
        encoding.encode(coder, models, raw)
        sizes.append(int(coder.registers[POSITION] + len(raw) - before))
    stream = finish(coder)
    start = ByteWriter()
    for number in (VERSION, len(header), len(stream)):
        start.write_integer(number)
    data = bytes(start) + stream + raw
    least_length = max(
        (values - FREE_VALUES) / VALUES_PER_BYTE,
        (-int(coder.registers[BUDGET]) - FREE_BITS) / BITS_PER_BYTE,
        (len(header) - FREE_HEADER) / HEADER_PER_BYTE,
    )
    return data.ljust(int(least_length) + 1, b"\0"), sizes


def _decode_all(
    header: ByteReader,
    coder: Coder,
    models: ContextModels,
    raw: ByteReader,
    max_values: int,
    shapes: Mapping[str, tuple[int, ...]] | None,
) -> dict[str, Array | Quantized]:
    tensors: dict[str, Array | Quantized] = {}
    for _ in range(_at_most(header.read_integer(), MAX_TENSORS)):
        name, dtype = header.read_string(), DTYPES[_at_most(header.read_integer(), max(DTYPES))]
        shape = tuple(header.read_integer() for _ in range(_at_most(header.read_integer(), MAX_DIMENSIONS)))
        max_values -= prod(shape)
        if max_values < 0 or name in tensors or _extent(shape) > MAX_EXTENT:
            raise SqueezekitError("tensors are damaged: their list makes no sense; get the file again")
        if shapes is not None and shapes.get(name) != shape:
            raise _others()
        tensors[name] = _read_encoding(header, shape, dtype).decode(coder, models, raw)
        _check(coder)
    if not header.at_end:
        raise SqueezekitError("tensors are damaged: their list is too long; get the file again")
    return tensors


def _others() -> SqueezekitError:
    return SqueezekitError("damaged: its weights are not those of its network; get the file again")


def _read_encoding(header: ByteReader, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Encoding:
    number = header.read_integer()
    if number >= len(ENCODINGS):
        raise SqueezekitError(f"tensors have encoding {number}, which is unknown here; get the file again, or a newer squeezekit")
    return ENCODINGS[number].read_header(header, shape, dtype)


def _extent(shape: tuple[int, ...]) -> int:
    """The product of the sides that are not 0: NumPy cannot make every empty array."""
    return prod(side for side in shape if side)


def _dtype_code(name: str, tensor: Array | Quantized) -> int:
    if isinstance(tensor, Quantized):
        return 1
    for code, dtype in DTYPES.items():
        if tensor.dtype == dtype:
            return code
    raise SqueezekitError(f"tensor '{name}' holds {tensor.dtype}; give float16, float32 or float64")


def _at_most(value: int, most: int) -> int:
    if value > most:
        raise SqueezekitError("tensors are damaged: a number in their list is too large; get the file again")
    return value


def _check(coder: Coder) -> None:
    if exhausted(coder):
        raise SqueezekitError("tensors are damaged or cut short; get the file again")
