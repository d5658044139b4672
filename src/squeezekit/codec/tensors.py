"""Named arrays as few bytes, and back, bit for bit.

    data = encode_tensors({"weight": weight, "bias": bias})
    decode_tensors(data)["weight"]

How each array is written is chosen here (`forms.py`); the layout is that of docs/sqz-format.md, section “Tensors”.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezekit.codec.byte_model import MOST_BYTES, code_text
from squeezekit.codec.encodings import ENCODINGS, Encoding, Models, Quantized, encoding_of
from squeezekit.codec.range_coder import BUDGET, POSITION, Coder, decoder, encoder, exhausted, finished
from squeezekit.codec.varint import Fields
from squeezekit.system.errors import SqueezekitError

VERSION = 1
# What a few bytes may ask a reader to do: an encoder that needs more adds zeros.
FREE_VALUES, VALUES_PER_BYTE = 1 << 21, 128
FREE_BITS, BITS_PER_BYTE = 1 << 21, 128
FREE_LIST, LIST_PER_BYTE = 1 << 16, 4
MOST_ARRAYS = 4096
# Of the sides of an array that are not 0.
MOST_EXTENT = 2**40
DTYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f2"), 1: np.dtype("<f4"), 2: np.dtype("<f8")}

Array = NDArray[Any]


def encode_tensors(tensors: Mapping[str, Array | Quantized]) -> bytes:
    """Write arrays of float16, float32 or float64, of any shape, NaN and −0.0 included, or `Quantized` ones.

    Raises SqueezekitError for other kinds of numbers, and for more than 4,096 arrays.
    """
    return _encoded(tensors)[0]


def costs(tensors: Mapping[str, Array | Quantized]) -> dict[str, int]:
    """How many of the bytes of `encode_tensors` each array needs; what is left is the list of them."""
    return dict(zip(tensors, _encoded(tensors)[1], strict=True))


def _encoded(tensors: Mapping[str, Array | Quantized]) -> tuple[bytes, list[int]]:
    if len(tensors) > MOST_ARRAYS:
        raise SqueezekitError(f"{len(tensors)} arrays are too many for one file; give at most {MOST_ARRAYS}")
    header, forms = Fields(), []
    header.write_integer(len(tensors))
    for name, tensor in tensors.items():
        if _extent(tensor.shape) > MOST_EXTENT:
            raise SqueezekitError(f"tensor '{name}' has sides that multiply to more than 2**40; give a smaller one")
        form, dtype = encoding_of(tensor), _dtype_code(name, tensor)
        header.write_text(name)
        header.write_integer(dtype)
        header.write_integer(len(tensor.shape))
        for side in tensor.shape:
            header.write_integer(side)
        _write_form(header, form)
        forms.append(form)
    values = sum(prod(tensor.shape) for tensor in tensors.values())
    return _sealed(bytes(header), forms, values)


def _sealed(header: bytes, forms: list[Encoding], values: int) -> tuple[bytes, list[int]]:
    models, raw, each = Models(), bytearray(), list[int]()
    coder = encoder(MOST_BYTES * len(header) + sum(form.most_bytes() for form in forms))
    code_text(coder, *models.text, np.frombuffer(header, np.uint8).copy())
    for form in forms:
        before = coder.registers[POSITION] + len(raw)
        form.write(coder, models, raw)
        each.append(int(coder.registers[POSITION] + len(raw) - before))
    stream = finished(coder)
    start = Fields()
    for number in (VERSION, len(header), len(stream)):
        start.write_integer(number)
    data = bytes(start) + stream + raw
    needed = max(
        (values - FREE_VALUES) / VALUES_PER_BYTE,
        (-int(coder.registers[BUDGET]) - FREE_BITS) / BITS_PER_BYTE,
        (len(header) - FREE_LIST) / LIST_PER_BYTE,
    )
    return data.ljust(int(needed) + 1, b"\0"), each


def decode_tensors(data: bytes) -> dict[str, Array]:
    """The arrays that `encode_tensors` wrote; raises SqueezekitError for anything else."""
    return {name: part.dequantized() if isinstance(part, Quantized) else part for name, part in decode_parts(data).items()}


def decode_parts(data: bytes) -> dict[str, Array | Quantized]:
    """Like `decode_tensors`, with arrays that were written as `Quantized` as such."""
    start = Fields(data)
    version, header_length, stream_length = (start.read_integer() for _ in range(3))
    if version != VERSION:
        raise SqueezekitError(f"tensors of version {version}; this squeezekit reads version {VERSION}, install a newer one")
    stream, raw = data[start.position : start.position + stream_length], Fields(data, start.position + stream_length)
    budget = FREE_BITS + BITS_PER_BYTE * len(data)
    if start.position + stream_length > len(data) or header_length > FREE_LIST + LIST_PER_BYTE * len(data):
        raise SqueezekitError("tensors are cut short; get the file again")
    coder, models = decoder(stream, budget), Models()
    octets = np.zeros(header_length, np.uint8)
    code_text(coder, *models.text, octets)
    _check(coder)
    tensors = _read_all(Fields(octets.tobytes()), coder, models, raw, FREE_VALUES + VALUES_PER_BYTE * len(data))
    if data[raw.position :].strip(b"\0"):
        raise SqueezekitError("tensors are damaged: something follows them; get the file again")
    return tensors


def _read_all(header: Fields, coder: Coder, models: Models, raw: Fields, left: int) -> dict[str, Array | Quantized]:
    tensors: dict[str, Array | Quantized] = {}
    for _ in range(_at_most(header.read_integer(), MOST_ARRAYS)):
        name, dtype = header.read_text(), DTYPES[_at_most(header.read_integer(), max(DTYPES))]
        shape = tuple(header.read_integer() for _ in range(_at_most(header.read_integer(), 16)))
        left -= prod(shape)
        if left < 0 or name in tensors or _extent(shape) > MOST_EXTENT:
            raise SqueezekitError("tensors are damaged: their list makes no sense; get the file again")
        form = _read_form(header, shape, dtype)
        tensors[name] = form.read(coder, models, raw)
        _check(coder)
    if not header.at_end:
        raise SqueezekitError("tensors are damaged: their list is too long; get the file again")
    return tensors


def _extent(shape: tuple[int, ...]) -> int:
    """Of the sides that are not 0: NumPy cannot make every empty array."""
    return prod(side for side in shape if side)


def _write_form(header: Fields, form: Encoding) -> None:
    header.write_integer(ENCODINGS.index(type(form)))
    form.describe(header)


def _read_form(header: Fields, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Encoding:
    number = header.read_integer()
    if number >= len(ENCODINGS):
        raise SqueezekitError(f"tensors have a form, {number}, that is unknown here; get the file again, or a newer squeezekit")
    return ENCODINGS[number].described(header, shape, dtype)


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
