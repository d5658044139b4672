"""The encodings of a tensor: a few numbers in the header and a part of the coded stream each.

All of them are lossless, bit for bit. `encoding_of` takes the one that probably needs the fewest bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from squeezekit.codec.byte_model import MAX_CODED_BYTES, ByteModel, code_byte_plane, new_byte_model
from squeezekit.codec.coder_tables import COARSE, FINE
from squeezekit.codec.integer_model import IntegerModel, code_integers, new_integer_model
from squeezekit.codec.log_scales import from_log_steps, resolution_of, to_log_steps
from squeezekit.codec.range_coder import Coder, Integers, new_bit_models
from squeezekit.codec.tensor_list import ITEM_BYTES, MAX_BIT_LENGTH, MAX_ENTRIES, StoredTensor
from squeezekit.codec.varint import ByteReader, ByteWriter
from squeezekit.system.errors import SqueezekitError

# Byte planes of more bits a byte are nearly random: they are stored as they are.
MAX_CODED_ENTROPY = 7.8
# No byte of a coded plane costs less.
MIN_BITS = 0.01
Array = NDArray[Any]
Shape = tuple[int, ...]
DTYPES: tuple[np.dtype[Any], ...] = tuple(np.dtype(f"<f{size}") for size in ITEM_BYTES)


@dataclass(frozen=True)
class Quantized:
    """Quantised weights: `integers` int64 [rows, …] times `scales` float32 [rows], which are log-spaced (`log_scales.py`)."""

    integers: Integers
    scales: NDArray[np.float32]

    @property
    def shape(self) -> Shape:
        """The shape of the weights."""
        return self.integers.shape

    def dequantize(self) -> NDArray[np.float32]:
        """The weights [rows, …], each product rounded to float32."""
        weights: NDArray[np.float32] = self.integers.astype(np.float32) * self.scales.reshape(-1, *[1] * (self.integers.ndim - 1))
        return weights


@dataclass
class ContextModels:
    """The context models that all tensors of a file share."""

    integers: IntegerModel = field(default_factory=new_integer_model)
    header: ByteModel = field(default_factory=new_byte_model)


class Uncodable(SqueezekitError):
    """Weights are larger than a file can hold."""


class Encoding:
    """One way to store a tensor; `title` is its name in reports."""

    title: ClassVar[str]

    def write_header(self, header: ByteWriter) -> None:
        """Write what a decoder needs beside shape and dtype."""
        raise NotImplementedError

    @classmethod
    def of_stored(cls, stored: StoredTensor) -> Self:
        """The encoding of a tensor that is still to be decoded."""
        raise NotImplementedError

    def max_bytes(self) -> int:
        """An upper bound of the bytes that `encode` adds to the stream."""
        raise NotImplementedError

    def encode(self, coder: Coder, models: ContextModels, raw: bytearray) -> None:
        """Code the tensor; bytes that are not worth coding are appended to `raw`."""
        raise NotImplementedError

    def decode(self, coder: Coder, models: ContextModels, raw: ByteReader) -> Array | Quantized:
        """The tensor; raises SqueezekitError for one that no encoder writes."""
        raise NotImplementedError


@dataclass
class BytePlaneEncoding(Encoding):
    """Any numbers, by byte planes [itemsize, size]: highest byte first, sign last; bit i of `coded`: plane i is coded."""

    title = "plain"
    planes: NDArray[np.uint8]
    coded: int
    shape: Shape
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, array: Array) -> Self:
        """The byte planes of an array, and which are worth coding."""
        unsigned = _unsigned(array)
        width = 8 * array.itemsize
        # Exponents first: the sign, which is random, moves to the lowest bit.
        rotated = (unsigned << np.uint8(1)) | (unsigned >> np.uint8(width - 1))
        planes = np.ascontiguousarray(rotated.astype(f">u{array.itemsize}").view(np.uint8).reshape(-1, array.itemsize).T)
        coded = sum(1 << i for i, plane in enumerate(planes) if _entropy(plane) < MAX_CODED_ENTROPY)
        return cls(planes, coded, array.shape, array.dtype)

    def write_header(self, header: ByteWriter) -> None:
        header.write_integer(self.coded)

    @classmethod
    def of_stored(cls, stored: StoredTensor) -> Self:
        dtype = DTYPES[stored.dtype]
        return cls(np.empty((dtype.itemsize, prod(stored.shape)), np.uint8), stored.coded, stored.shape, dtype)

    def max_bytes(self) -> int:
        return MAX_CODED_BYTES * self.planes.size

    def estimated_bits(self) -> float:
        """About how many bits the tensor needs."""
        entropies = [max(_entropy(plane), MIN_BITS) if self.coded >> i & 1 else 8 for i, plane in enumerate(self.planes)]
        return float(sum(entropies) * self.planes.shape[1])

    def encode(self, coder: Coder, models: ContextModels, raw: bytearray) -> None:
        for i, plane in enumerate(self.planes):
            if self.coded >> i & 1:
                code_byte_plane(coder, new_bit_models(256), plane)
            else:
                raw += plane.tobytes()

    def decode(self, coder: Coder, models: ContextModels, raw: ByteReader) -> Array:
        for i, plane in enumerate(self.planes):
            if self.coded >> i & 1:
                code_byte_plane(coder, new_bit_models(256), plane)
            else:
                plane[:] = np.frombuffer(raw.read_bytes(len(plane)), np.uint8)
        size = self.dtype.itemsize
        rotated = np.ascontiguousarray(self.planes.T).view(f">u{size}").astype(f"<u{size}").ravel()
        unsigned = (rotated >> np.uint8(1)) | (rotated << np.uint8(8 * size - 1))
        return unsigned.view(self.dtype).reshape(self.shape)


@dataclass
class CodebookEncoding(Encoding):
    """Few distinct numbers: `entries`, in order, and the entry of each element, as `indices` counted from `center`."""

    title = "codebook"
    entries: Array
    indices: Integers
    center: int
    max_bits: int

    @classmethod
    def of(cls, array: Array) -> Self | None:
        """The codebook of an array; None if it has more than 65,536 distinct numbers."""
        distinct, inverse, counts = np.unique(_to_ordered(array), return_inverse=True, return_counts=True)
        if not 0 < len(distinct) <= MAX_ENTRIES:
            return None
        entries = _from_ordered(distinct, array.dtype)
        zero = np.flatnonzero(entries == 0)
        center = int(zero[0]) if len(zero) else int(counts.argmax())
        indices = inverse.astype(np.int64).reshape(array.shape) - center
        return cls(entries, indices, center, _bit_length(indices))

    def write_header(self, header: ByteWriter) -> None:
        header.write_integer(len(self.entries))
        header.write_integer(self.center)
        header.write_bytes(self.entries.tobytes())

    @classmethod
    def of_stored(cls, stored: StoredTensor) -> Self:
        entries = np.frombuffer(stored.entries, DTYPES[stored.dtype])
        return cls(entries, np.zeros(stored.shape, np.int64), stored.center, stored.bits)

    def max_bytes(self) -> int:
        return _max_bytes(self.indices, self.max_bits)

    def estimated_bits(self) -> float:
        """About how many bits the tensor needs."""
        return 8 * self.entries.nbytes + _integer_bits(self.indices)

    def encode(self, coder: Coder, models: ContextModels, raw: bytearray) -> None:
        _code_integers(coder, models, self.indices, self.max_bits)

    def decode(self, coder: Coder, models: ContextModels, raw: ByteReader) -> Array:
        _code_integers(coder, models, self.indices, self.max_bits)
        indices = self.indices + self.center
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self.entries):
            raise SqueezekitError("tensors are damaged: an index is outside its codebook; get the file again")
        array: Array = self.entries[indices]
        return array


@dataclass
class GridEncoding(Encoding):
    """Multiples of one float32 `step`, as uniform quantisation gives them."""

    title = "grid"
    integers: Integers
    step: np.float32
    max_bits: int

    @classmethod
    def of(cls, array: Array) -> Self | None:
        """The grid of a float32 array; None if there is none."""
        sizes = np.unique(np.abs(array[np.isfinite(array)])) if array.dtype == np.float32 else np.empty(0)
        if not 1 < len(sizes) <= MAX_ENTRIES:
            return None
        smallest = sizes[0] or sizes[1]
        for divisor in (1, 2, 3, 4, 5):
            middle = np.float32(smallest / divisor)
            for step in (middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))):
                if (found := cls._with_step(array, step)) is not None:
                    return found
        return None

    @classmethod
    def _with_step(cls, array: Array, step: np.float32) -> Self | None:
        if not step > np.finfo(np.float32).tiny or not np.isfinite(array).all():
            return None
        ratios = np.rint(array.astype(np.float64) / step)
        if np.abs(ratios).max() >= MAX_ENTRIES:
            return None
        integers = ratios.astype(np.int64)
        if _unsigned(integers.astype(np.float32) * step).tobytes() != _unsigned(array).tobytes():
            return None
        return cls(integers, step, _bit_length(integers))

    def write_header(self, header: ByteWriter) -> None:
        header.write_bytes(self.step.tobytes())
        header.write_integer(self.max_bits)

    @classmethod
    def of_stored(cls, stored: StoredTensor) -> Self:
        return cls(np.zeros(stored.shape, np.int64), np.frombuffer(stored.entries, np.float32)[0], stored.bits)

    def max_bytes(self) -> int:
        return _max_bytes(self.integers, self.max_bits)

    def estimated_bits(self) -> float:
        """About how many bits the tensor needs."""
        return 8 * self.step.nbytes + _integer_bits(self.integers)

    def encode(self, coder: Coder, models: ContextModels, raw: bytearray) -> None:
        _code_integers(coder, models, self.integers, self.max_bits)

    def decode(self, coder: Coder, models: ContextModels, raw: ByteReader) -> Array:
        _code_integers(coder, models, self.integers, self.max_bits)
        with np.errstate(all="ignore"):
            array: Array = self.integers.astype(np.float32) * self.step
        return array


@dataclass
class QuantizedEncoding(Encoding):
    """A `Quantized` tensor: the exponents of its scales, counted from `center`, then the integers."""

    title = "grid per row"
    resolution: ClassVar[int] = COARSE
    tensor: Quantized
    center: int
    max_bits: tuple[int, int]

    @classmethod
    def of(cls, tensor: Quantized) -> Self:
        """The encoding of a tensor; raises SqueezekitError for scales that are not among the log-spaced ones."""
        exponents = to_log_steps(tensor.scales, cls.resolution)
        if exponents is None or not tensor.integers.size or not tensor.shape or tensor.scales.shape != tensor.shape[:1]:
            raise SqueezekitError(
                "quantised weights need rows that are not empty, and one scale a row, rounded with nearest_log_scale"
            )
        center = int(np.sort(exponents)[len(exponents) // 2])
        max_bits = _bit_length(exponents - center), _bit_length(tensor.integers)
        if max(max_bits) > MAX_BIT_LENGTH:
            raise Uncodable(f"quantised weights of 2**{MAX_BIT_LENGTH} steps or more cannot be coded: training has diverged")
        return cls(tensor, center, max_bits)

    def write_header(self, header: ByteWriter) -> None:
        header.write_integer(self.center)
        for max_bits in self.max_bits:
            header.write_integer(max_bits)

    @classmethod
    def of_stored(cls, stored: StoredTensor) -> Self:
        tensor = Quantized(np.zeros(stored.shape, np.int64), np.zeros(stored.shape[0], np.float32))
        return cls(tensor, stored.center, (stored.scale_bits, stored.bits))

    def max_bytes(self) -> int:
        return _max_bytes(self.tensor.scales, self.max_bits[0]) + _max_bytes(self.tensor.integers, self.max_bits[1])

    def encode(self, coder: Coder, models: ContextModels, raw: bytearray) -> None:
        exponents = to_log_steps(self.tensor.scales, self.resolution)
        assert exponents is not None
        _code_integers(coder, models, exponents - self.center, self.max_bits[0])
        _code_integers(coder, models, self.tensor.integers, self.max_bits[1])

    def decode(self, coder: Coder, models: ContextModels, raw: ByteReader) -> Quantized:
        exponents = np.zeros(self.tensor.scales.shape, np.int64)
        _code_integers(coder, models, exponents, self.max_bits[0])
        _code_integers(coder, models, self.tensor.integers, self.max_bits[1])
        return Quantized(self.tensor.integers, from_log_steps(exponents + self.center, self.resolution))


class FineQuantizedEncoding(QuantizedEncoding):
    """A `Quantized` tensor whose scales are the fine ones."""

    title = "grid per row, fine"
    resolution = FINE


# In the file each is known by its index (`tensor_list.py`).
ENCODINGS: tuple[type[Encoding], ...] = (
    BytePlaneEncoding,
    CodebookEncoding,
    GridEncoding,
    QuantizedEncoding,
    FineQuantizedEncoding,
)


def encoding_of(tensor: Array | Quantized) -> Encoding:
    """The encoding that probably needs the fewest bytes; raises SqueezekitError for a `Quantized` one that has none."""
    if isinstance(tensor, Quantized):
        return (QuantizedEncoding if resolution_of(tensor.scales) == COARSE else FineQuantizedEncoding).of(tensor)
    tensor = np.ascontiguousarray(tensor).reshape(tensor.shape)
    found = (BytePlaneEncoding.of(tensor), CodebookEncoding.of(tensor), GridEncoding.of(tensor))
    return min((encoding for encoding in found if encoding is not None), key=lambda encoding: encoding.estimated_bits())


def _code_integers(coder: Coder, models: ContextModels, integers: Integers, max_bits: int) -> None:
    if not integers.size:
        # A damaged header may ask for 2**40 rows without columns.
        return
    rows, columns = integers.shape[:2] if integers.ndim > 1 else (1, integers.size)
    code_integers(coder, models.integers, integers.reshape(rows, columns, prod(integers.shape[2:])), max_bits)


def _bit_length(integers: Integers) -> int:
    # The least int64 has no absolute value among them.
    return max(-int(integers.min(initial=0)), int(integers.max(initial=0))).bit_length()


def _max_bytes(integers: Array, max_bits: int) -> int:
    # The least likely bit costs eleven.
    return integers.size * (2 * max_bits + 1) * 11 // 8 + 8


def _unsigned(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1).view(f"<u{array.itemsize}")


def _to_ordered(array: Array) -> Array:
    """Unsigned integers in the order of the numbers, one for each bit pattern."""
    bits = _unsigned(array)
    top = bits.dtype.type(1 << (8 * array.itemsize - 1))
    return np.where(bits & top, ~bits, bits | top)


def _from_ordered(ordered: Array, dtype: np.dtype[Any]) -> Array:
    top = ordered.dtype.type(1 << (8 * dtype.itemsize - 1))
    return np.where(ordered & top, ordered ^ top, ~ordered).astype(ordered.dtype).view(dtype)


def _integer_bits(integers: Integers) -> float:
    """An estimate: the entropy of bit lengths, plus lower bits and signs; or the entropy of the integers, if that is less."""
    lengths = np.ceil(np.log2(np.abs(integers.ravel()) + 1)).astype(np.uint8)
    distinct = np.unique(integers)
    first_time = float(np.ceil(np.log2(np.abs(distinct) + 1)).sum())
    by_length = _entropy(lengths) * lengths.size + float(lengths.sum(dtype=np.int64))
    return float(min(by_length, _entropy(integers) * integers.size + first_time))


def _entropy(values: Array) -> float:
    """Order-0 entropy, bits a value."""
    if not values.size:
        return 0.0
    counts = np.bincount(values.ravel()) if values.dtype == np.uint8 else np.unique(values, return_counts=True)[1]
    shares = counts[counts > 0] / values.size
    return float(-(shares * np.log2(shares)).sum())
