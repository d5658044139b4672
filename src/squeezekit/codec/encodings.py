"""The forms that an array can be written in, each a few numbers in the list and a part of the stream.

`encoding_of` takes the one that is likely to need the fewest bytes. All of them are lossless, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from squeezekit.codec.byte_model import MOST_BYTES, code_plane, fresh_text
from squeezekit.codec.integer_model import LONGEST, Weights, code_integers, fresh_weights
from squeezekit.codec.log_scales import COARSE, FINE, from_log_steps, steps_of, to_log_steps
from squeezekit.codec.range_coder import Bits, Coder, Integers, Mix, fresh_bits
from squeezekit.codec.varint import Fields
from squeezekit.system.errors import SqueezekitError

MOST_ENTRIES = 1 << 16
# A plane of bytes that are nearly random is not worth the time.
WORTH_CODING = 7.8
# No byte of a plane costs less.
LEAST_BITS = 0.01
Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Quantized:
    """Weights on a grid: `integers` [rows, ...] int64, times `scales` [rows], float32 numbers of `octaves.py`."""

    integers: Integers
    scales: NDArray[np.float32]

    @property
    def shape(self) -> Shape:
        """That of the weights."""
        return self.integers.shape

    def dequantized(self) -> NDArray[np.float32]:
        """The weights: each product rounded to float32."""
        weights: NDArray[np.float32] = self.integers.astype(np.float32) * self.scales.reshape(-1, *[1] * (self.integers.ndim - 1))
        return weights


@dataclass
class Models:
    """What coder and decoder have learnt so far: of weights, and of texts."""

    weights: Weights = field(default_factory=fresh_weights)
    text: tuple[Bits, Mix] = field(default_factory=fresh_text)


class Encoding:
    """One way to write an array: `describe` to the list, `write` to the stream; `described` and `read` back."""

    title: ClassVar[str]

    def describe(self, header: Fields) -> None:
        """Write what a reader must know first."""
        raise NotImplementedError

    @classmethod
    def described(cls, header: Fields, shape: Shape, dtype: np.dtype[Any]) -> Self:
        """The form of an array still to be read."""
        raise NotImplementedError

    def most_bytes(self) -> int:
        """How long the stream of this array can get, at the very most."""
        raise NotImplementedError

    def write(self, coder: Coder, models: Models, raw: bytearray) -> None:
        """Code the array; bytes that no model foretells go to `raw`."""
        raise NotImplementedError

    def read(self, coder: Coder, models: Models, raw: Fields) -> Array | Quantized:
        """The array."""
        raise NotImplementedError


@dataclass
class Planes(Encoding):
    """Any numbers: their bytes, sign last and highest first, as planes; `coded` says which of them are foretold."""

    title = "plain"
    planes: NDArray[np.uint8]
    coded: int
    shape: Shape
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, array: Array) -> Self:
        """The planes of an array, and which are worth coding."""
        unsigned = _unsigned(array)
        width = 8 * array.itemsize
        # Exponents first: the sign, which tells nothing, moves to the lowest place.
        turned = (unsigned << np.uint8(1)) | (unsigned >> np.uint8(width - 1))
        planes = np.ascontiguousarray(turned.astype(f">u{array.itemsize}").view(np.uint8).reshape(-1, array.itemsize).T)
        coded = sum(1 << i for i, plane in enumerate(planes) if _entropy(plane) < WORTH_CODING)
        return cls(planes, coded, array.shape, array.dtype)

    def describe(self, header: Fields) -> None:
        header.write_integer(self.coded)

    @classmethod
    def described(cls, header: Fields, shape: Shape, dtype: np.dtype[Any]) -> Self:
        return cls(np.empty((dtype.itemsize, prod(shape)), np.uint8), header.read_integer(), shape, dtype)

    def most_bytes(self) -> int:
        return MOST_BYTES * self.planes.size

    def bits(self) -> float:
        """About how many bits this needs."""
        entropies = [max(_entropy(plane), LEAST_BITS) if self.coded >> i & 1 else 8 for i, plane in enumerate(self.planes)]
        return float(sum(entropies) * self.planes.shape[1])

    def write(self, coder: Coder, models: Models, raw: bytearray) -> None:
        for i, plane in enumerate(self.planes):
            if self.coded >> i & 1:
                code_plane(coder, fresh_bits(256), plane)
            else:
                raw += plane.tobytes()

    def read(self, coder: Coder, models: Models, raw: Fields) -> Array:
        if self.coded >> len(self.planes):
            raise SqueezekitError("tensors are damaged: too many planes; get the file again")
        for i, plane in enumerate(self.planes):
            if self.coded >> i & 1:
                code_plane(coder, fresh_bits(256), plane)
            else:
                plane[:] = np.frombuffer(raw.read(len(plane)), np.uint8)
        size = self.dtype.itemsize
        turned = np.ascontiguousarray(self.planes.T).view(f">u{size}").astype(f"<u{size}").ravel()
        unsigned = (turned >> np.uint8(1)) | (turned << np.uint8(8 * size - 1))
        return unsigned.view(self.dtype).reshape(self.shape)


@dataclass
class Codebook(Encoding):
    """Few distinct numbers: the numbers themselves, in order, and for each place which, counted from `centre`."""

    title = "codebook"
    entries: Array
    indices: Integers
    centre: int
    longest: int

    @classmethod
    def of(cls, array: Array) -> Self | None:
        """The codebook of an array; None if it has more than 65,536 distinct numbers."""
        distinct, inverse, counts = np.unique(_in_order(array), return_inverse=True, return_counts=True)
        if not 0 < len(distinct) <= MOST_ENTRIES:
            return None
        entries = _from_order(distinct, array.dtype)
        zero = np.flatnonzero(entries == 0)
        centre = int(zero[0]) if len(zero) else int(counts.argmax())
        indices = inverse.astype(np.int64).reshape(array.shape) - centre
        return cls(entries, indices, centre, _longest(indices))

    def describe(self, header: Fields) -> None:
        header.write_integer(len(self.entries))
        header.write_integer(self.centre)
        header.write(self.entries.tobytes())

    @classmethod
    def described(cls, header: Fields, shape: Shape, dtype: np.dtype[Any]) -> Self:
        count, centre = header.read_integer(), header.read_integer()
        if not centre < count <= MOST_ENTRIES:
            raise SqueezekitError("tensors are damaged: a codebook makes no sense; get the file again")
        entries = np.frombuffer(header.read(count * dtype.itemsize), dtype)
        longest = max(centre, count - 1 - centre).bit_length()
        return cls(entries, np.zeros(shape, np.int64), centre, longest)

    def most_bytes(self) -> int:
        return _most_bytes(self.indices, self.longest)

    def bits(self) -> float:
        """About how many bits this needs."""
        return 8 * self.entries.nbytes + _integer_bits(self.indices)

    def write(self, coder: Coder, models: Models, raw: bytearray) -> None:
        _code(coder, models, self.indices, self.longest)

    def read(self, coder: Coder, models: Models, raw: Fields) -> Array:
        _code(coder, models, self.indices, self.longest)
        place = self.indices + self.centre
        if place.size and not 0 <= place.min() <= place.max() < len(self.entries):
            raise SqueezekitError("tensors are damaged: an index is outside its codebook; get the file again")
        found: Array = self.entries[place]
        return found


@dataclass
class Grid(Encoding):
    """Multiples of one float32 step, as uniform quantisation makes them."""

    title = "grid"
    integers: Integers
    step: np.float32
    longest: int

    @classmethod
    def of(cls, array: Array) -> Self | None:
        """The grid of a float32 array; None if it lies on none."""
        sizes = np.unique(np.abs(array[np.isfinite(array)])) if array.dtype == np.float32 else np.empty(0)
        if not 1 < len(sizes) <= MOST_ENTRIES:
            return None
        smallest = sizes[0] or sizes[1]
        for part in (1, 2, 3, 4, 5):
            middle = np.float32(smallest / part)
            for step in (middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))):
                if (found := cls._with(array, step)) is not None:
                    return found
        return None

    @classmethod
    def _with(cls, array: Array, step: np.float32) -> Self | None:
        if not step > np.finfo(np.float32).tiny or not np.isfinite(array).all():
            return None
        ratios = np.rint(array.astype(np.float64) / step)
        if np.abs(ratios).max() >= MOST_ENTRIES:
            return None
        integers = ratios.astype(np.int64)
        if _unsigned(integers.astype(np.float32) * step).tobytes() != _unsigned(array).tobytes():
            return None
        return cls(integers, step, _longest(integers))

    def describe(self, header: Fields) -> None:
        header.write(self.step.tobytes())
        header.write_integer(self.longest)

    @classmethod
    def described(cls, header: Fields, shape: Shape, dtype: np.dtype[Any]) -> Self:
        step = np.frombuffer(header.read(4), np.float32)[0]
        return cls(np.zeros(shape, np.int64), step, _read_longest(header))

    def most_bytes(self) -> int:
        return _most_bytes(self.integers, self.longest)

    def bits(self) -> float:
        """About how many bits this needs."""
        return 8 * self.step.nbytes + _integer_bits(self.integers)

    def write(self, coder: Coder, models: Models, raw: bytearray) -> None:
        _code(coder, models, self.integers, self.longest)

    def read(self, coder: Coder, models: Models, raw: Fields) -> Array:
        _code(coder, models, self.integers, self.longest)
        with np.errstate(all="ignore"):
            array: Array = self.integers.astype(np.float32) * self.step
        return array


@dataclass
class Rows(Encoding):
    """`Quantized`: the exponents of the scales, counted from one of them, then the integers."""

    title = "grid a row"
    steps: ClassVar[int] = COARSE
    part: Quantized
    centre: int
    longest: tuple[int, int]

    @classmethod
    def of(cls, part: Quantized) -> Self:
        """Raises SqueezekitError for scales that are not among these steps of `octaves.py`."""
        exponents = to_log_steps(part.scales, cls.steps)
        if exponents is None or not part.integers.size or not part.shape or part.scales.shape != part.shape[:1]:
            raise SqueezekitError(
                "quantised weights need rows that are not empty, and one scale a row, rounded with nearest_log_scale"
            )
        centre = int(np.sort(exponents)[len(exponents) // 2])
        return cls(part, centre, (_longest(exponents - centre), _longest(part.integers)))

    def describe(self, header: Fields) -> None:
        header.write_integer(self.centre)
        for longest in self.longest:
            header.write_integer(longest)

    @classmethod
    def described(cls, header: Fields, shape: Shape, dtype: np.dtype[Any]) -> Self:
        # Scales of empty rows would be numbers that nothing limits.
        if dtype != np.float32 or not shape or not prod(shape):
            raise SqueezekitError("tensors are damaged: quantised weights make no sense; get the file again")
        part = Quantized(np.zeros(shape, np.int64), np.zeros(shape[0], np.float32))
        return cls(part, header.read_integer(), (_read_longest(header), _read_longest(header)))

    def most_bytes(self) -> int:
        return _most_bytes(self.part.scales, self.longest[0]) + _most_bytes(self.part.integers, self.longest[1])

    def write(self, coder: Coder, models: Models, raw: bytearray) -> None:
        exponents = to_log_steps(self.part.scales, self.steps)
        assert exponents is not None
        _code(coder, models, exponents - self.centre, self.longest[0])
        _code(coder, models, self.part.integers, self.longest[1])

    def read(self, coder: Coder, models: Models, raw: Fields) -> Quantized:
        exponents = np.zeros(self.part.scales.shape, np.int64)
        _code(coder, models, exponents, self.longest[0])
        _code(coder, models, self.part.integers, self.longest[1])
        return Quantized(self.part.integers, from_log_steps(exponents + self.centre, self.steps))


class FineRows(Rows):
    """`Rows` with scales in four times as many steps an octave."""

    title = "grid a row, fine"
    steps = FINE


ENCODINGS: tuple[type[Encoding], ...] = (Planes, Codebook, Grid, Rows, FineRows)


def encoding_of(tensor: Array | Quantized) -> Encoding:
    """The form that is likely to need the fewest bytes."""
    if isinstance(tensor, Quantized):
        return (Rows if steps_of(tensor.scales) == COARSE else FineRows).of(tensor)
    tensor = np.ascontiguousarray(tensor).reshape(tensor.shape)
    found = [form for form in (Planes.of(tensor), Codebook.of(tensor), Grid.of(tensor)) if form is not None]
    return min(found, key=lambda form: form.bits())


def _code(coder: Coder, models: Models, integers: Integers, longest: int) -> None:
    if not integers.size:
        # Rows without columns may be more than anyone can count.
        return
    rows, columns = integers.shape[:2] if integers.ndim > 1 else (1, integers.size)
    code_integers(coder, models.weights, integers.reshape(rows, columns, prod(integers.shape[2:])), longest)


def _longest(integers: Integers) -> int:
    return int(np.abs(integers).max(initial=0)).bit_length()


def _read_longest(header: Fields) -> int:
    longest = header.read_integer()
    if longest > LONGEST:
        raise SqueezekitError("tensors are damaged: an integer is too long; get the file again")
    return longest


def _most_bytes(integers: Array, longest: int) -> int:
    # Eleven bits is what the least likely bit costs.
    return integers.size * (2 * longest + 1) * 11 // 8 + 8


def _unsigned(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1).view(f"<u{array.itemsize}")


def _in_order(array: Array) -> Array:
    """Unsigned integers in the order of the numbers, one for each pattern of bits."""
    bits = _unsigned(array)
    top = bits.dtype.type(1 << (8 * array.itemsize - 1))
    return np.where(bits & top, ~bits, bits | top)


def _from_order(ordered: Array, dtype: np.dtype[Any]) -> Array:
    top = ordered.dtype.type(1 << (8 * dtype.itemsize - 1))
    return np.where(ordered & top, ordered ^ top, ~ordered).astype(ordered.dtype).view(dtype)


def _integer_bits(integers: Integers) -> float:
    """As they are coded: bit lengths, then, for those that have any, lower bits and a sign; less where few recur."""
    lengths = np.ceil(np.log2(np.abs(integers.ravel()) + 1)).astype(np.uint8)
    distinct = np.unique(integers)
    met_first = float(np.ceil(np.log2(np.abs(distinct) + 1)).sum())
    one_by_one = _entropy(lengths) * lengths.size + float(lengths.sum(dtype=np.int64))
    return float(min(one_by_one, _entropy(integers) * integers.size + met_first))


def _entropy(values: Array) -> float:
    """Order-0 entropy, bits a value."""
    if not values.size:
        return 0.0
    counts = np.bincount(values.ravel()) if values.dtype == np.uint8 else np.unique(values, return_counts=True)[1]
    shares = counts[counts > 0] / values.size
    return float(-(shares * np.log2(shares)).sum())
