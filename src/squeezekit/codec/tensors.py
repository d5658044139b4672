"""Named arrays as few bytes, and back, bit for bit.

    data = encode_tensors({"weight": weight, "bias": bias})
    decode_tensors(data)["weight"]

Each array gets the encoding that suits it (`encodings.py`). The layout is that of docs/reference/sqz-format.md, section
“Tensors”.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from squeezekit.codec.byte_model import MAX_CODED_BYTES, code_bytes
from squeezekit.codec.coder_tables import BUDGET, POSITION
from squeezekit.codec.encodings import DTYPES, ENCODINGS, Array, ContextModels, Encoding, Quantized, encoding_of
from squeezekit.codec.range_coder import Coder, decoder, encoder, exhausted, finish
from squeezekit.codec.tensor_list import (
    BITS_PER_BYTE,
    FLOAT32,
    FREE_BITS,
    FREE_HEADER,
    FREE_VALUES,
    HEADER_PER_BYTE,
    MAX_EXTENT,
    MAX_TENSORS,
    VALUES_PER_BYTE,
    VERSION,
    extent,
    read_list,
    split_tensors,
)
from squeezekit.codec.varint import ByteReader, ByteWriter
from squeezekit.system.errors import SqueezekitError


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
    coded = split_tensors(data)
    coder, models = decoder(coded.stream, FREE_BITS + BITS_PER_BYTE * len(data)), ContextModels()
    header = np.zeros(coded.header_bytes, np.uint8)
    code_bytes(coder, models.header, header)
    _check(coder)
    stored = read_list(header.tobytes(), FREE_VALUES + VALUES_PER_BYTE * len(data), shapes)
    raw, tensors = ByteReader(data, coded.raw), dict[str, Array | Quantized]()
    for each in stored:
        tensors[each.name] = ENCODINGS[each.encoding].of_stored(each).decode(coder, models, raw)
        _check(coder)
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
    if extent(tensor.shape) > MAX_EXTENT:
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


def _dtype_code(name: str, tensor: Array | Quantized) -> int:
    if isinstance(tensor, Quantized):
        return FLOAT32
    for code, dtype in enumerate(DTYPES):
        if tensor.dtype == dtype:
            return code
    raise SqueezekitError(f"tensor '{name}' holds {tensor.dtype}; give float16, float32 or float64")


def _check(coder: Coder) -> None:
    if exhausted(coder):
        raise SqueezekitError("tensors are damaged or cut short; get the file again")
