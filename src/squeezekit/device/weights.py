"""The weights of a file in whole steps, for `integer/plan_builder.py`: in C what `integer/quantizer.py` does by NumPy."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from ..integer.plan_builder import MAX_WEIGHT, Rounded
from .coded_numbers import Tensor
from .library import library


@dataclass(frozen=True)
class DeviceWeights:
    """int8 `numbers` of a shape [filters, kernel, kernel, in]."""

    shape: tuple[int, ...]
    numbers: bytearray

    def rows(self, row: int, depthwise: bool) -> bytearray:
        """As the runtime reads them: filters `row` bytes apart, or with `depthwise` taps, each of all filters."""
        filters, length = self.shape[0], prod(self.shape[1:])
        if depthwise:
            return bytearray(b"".join(self.numbers[tap::length] for tap in range(length)))
        if row == length:
            return self.numbers
        found = bytearray(filters * row)
        for number in range(filters):
            found[number * row : number * row + length] = self.numbers[number * length : (number + 1) * length]
        return found


class DeviceArrays:
    """Arrays of the standard library, made of the tensors of a file."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def filters(self, name: str) -> DeviceFilters:
        """Those of the layer of this name."""
        return DeviceFilters(self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"])

    def integers(self, numbers: Sequence[int]) -> array[int]:
        """An array of 64 bits."""
        return array("q", numbers)


class _Filters(ctypes.Structure):
    """`struct filters` of device.c."""

    _fields_ = (
        ("weights", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("channels", ctypes.c_size_t),
        ("taps", ctypes.c_size_t),
        ("divisors", ctypes.c_void_p),
    )


class DeviceFilters:
    """A layer's weights [filters, in, kernel, kernel] and biases [filters]."""

    def __init__(self, weights: Tensor, bias: Tensor) -> None:
        self._weights, self._count = weights, weights.shape[0]
        self.bias = bias.floats
        self.grid = [0.0] * self._count
        if weights.scales is not None and weights.largest is not None:
            known = zip(weights.scales, weights.largest, strict=True)
            self.grid = [scale if largest <= MAX_WEIGHT else 0.0 for scale, largest in known]

    def values(self) -> Sequence[float]:
        """All weights."""
        return self._weights.floats

    def largest(self, divisors: Sequence[float] | None) -> Sequence[float]:
        """The largest magnitude of each filter."""
        found, (given, _kept) = array("d", bytes(8 * self._count)), self._given(divisors)
        library().largest_weights(ctypes.byref(given), found.buffer_info()[0])
        return found

    def rounded(self, steps: Sequence[float], divisors: Sequence[float] | None) -> Rounded:
        """Each weight to the nearest of its filter's steps."""
        filters, channels, *kernel = (*self._weights.shape, 1, 1)[:4]
        numbers = array("b", bytes(len(self._weights.floats)))
        sums, magnitudes = array("q", bytes(8 * filters)), array("q", bytes(8 * filters))
        in_doubles, (given, _kept) = array("d", steps), self._given(divisors)
        addresses = (each.buffer_info()[0] for each in (in_doubles, numbers, sums, magnitudes))
        library().rounded_weights(ctypes.byref(given), *addresses)
        return Rounded(DeviceWeights((filters, *kernel, channels), bytearray(numbers)), sums, magnitudes)

    def _given(self, divisors: Sequence[float] | None) -> tuple[_Filters, array[float]]:
        """The argument, and an array that must stay as long as it is used."""
        in_doubles = array("d", divisors or ())
        address = in_doubles.buffer_info()[0] if divisors else None
        count, channels, *kernel = self._weights.shape
        return _Filters(self._weights.floats.buffer_info()[0], count, channels, prod(kernel), address), in_doubles
