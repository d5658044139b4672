"""Loops over channels-last feature maps on the CPU, each value read as seldom as can be.

They are NumPy arrays whose last dimension is the channels: float64, float32, or uint16 holding the bits of bfloat16, which is
widened to float32 as it is read and rounded to nearest, ties to even, as it is written. Sums are taken in float32 over a few
rows (float64 for float64) and in float64 over all. Rows are dealt out to `parts` threads; NaN stays NaN.
"""

from __future__ import annotations

import os
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from squeezekit.acceleration.compiled_code import compiled

FeatureMaps = NDArray[Any]
Floats = NDArray[Any]

# Rows that are summed in single precision.
BLOCK = 64
# What a pooled value names where no value of its window passes the ReLU.
NONE = 255

# OpenMP is what torch computes with: both then share one pool of threads, and neither's waiting disturbs the other.
if "NUMBA_THREADING_LAYER" not in os.environ:
    numba.config.THREADING_LAYER = "omp"  # type: ignore[attr-defined]


def _widened(_context: Any, value: Any) -> Any:
    """A stored value as a number to compute with."""
    if value != types.uint16:
        return value(value), lambda _context, _builder, _signature, arguments: arguments[0]

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = builder.shl(builder.zext(arguments[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(value), generate


def _narrowed(_context: Any, value: Any, like: Any) -> Any:
    """A number as it is stored in an array that holds `like`."""
    if like != types.uint16:
        return value(value, like), lambda _context, _builder, _signature, arguments: arguments[0]

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        bits = builder.bitcast(arguments[0], word)
        high = builder.lshr(bits, ir.Constant(word, 16))
        half = builder.add(builder.and_(high, ir.Constant(word, 1)), ir.Constant(word, 0x7FFF))
        return builder.trunc(builder.lshr(builder.add(bits, half), ir.Constant(word, 16)), ir.IntType(16))

    return types.uint16(types.float32, like), generate


def _fused(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """The product of a and b, and c on top, rounded once.

    Left to the compiler's liking, some products would be fused and others not: other bits from a cached kernel than from a
    fresh one.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, a, a), generate


widened: Any = intrinsic(_widened)
narrowed: Any = intrinsic(_narrowed)
fused: Any = intrinsic(_fused)


@compiled(parallel=True, error_model="numpy")
def moments(x: FeatureMaps, origin: Floats, parts: int) -> NDArray[np.float64]:
    """Sums of x − origin and of its square over the rows of x [rows, channels]: [2, channels]."""
    rows, channels = x.shape
    sums = np.zeros((parts, 2, channels))
    for part in prange(parts):
        first, last = part * rows // parts, (part + 1) * rows // parts
        one, two = np.zeros_like(origin), np.zeros_like(origin)
        for start in range(first, last, BLOCK):
            one[:] = 0
            two[:] = 0
            for row in range(start, min(start + BLOCK, last)):
                for k in range(channels):
                    value = widened(x[row, k]) - origin[k]
                    one[k] += value
                    two[k] = fused(value, value, two[k])
            for k in range(channels):
                sums[part, 0, k] += one[k]
                sums[part, 1, k] += two[k]
    return sums.sum(0)  # type: ignore[no-any-return]


@compiled(parallel=True, error_model="numpy")
def scaled(
    x: FeatureMaps, scale: Floats, shift: Floats, floor: float, ceiling: float, out: FeatureMaps, first_channel: int, parts: int
) -> None:
    """Write x · scale + shift, no less than `floor` and no more than `ceiling`, into channels from `first_channel` on of `out`.

    Shapes: [rows, channels], `out` [rows, …].
    """
    rows, channels = x.shape
    bottom, top = scale.dtype.type(floor), scale.dtype.type(ceiling)
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            target = out[row, first_channel : first_channel + channels]
            for k in range(channels):
                value = fused(widened(x[row, k]), scale[k], shift[k])
                value = bottom if value < bottom else value
                target[k] = narrowed(top if value > top else value, target[k])


@compiled(parallel=True, error_model="numpy")
def scaled_and_added(
    x: FeatureMaps,
    scale: Floats,
    shift: Floats,
    floor: float,
    added: FeatureMaps,
    out: FeatureMaps,
    first_channel: int,
    parts: int,
) -> None:
    """As `scaled` without a ceiling, with `added` [rows, …], of the same channels as `out`, on top."""
    rows, channels = x.shape
    bottom = scale.dtype.type(floor)
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            target = out[row, first_channel : first_channel + channels]
            above = added[row, first_channel : first_channel + channels]
            for k in range(channels):
                value = fused(widened(x[row, k]), scale[k], shift[k])
                target[k] = narrowed((bottom if value < bottom else value) + widened(above[k]), target[k])


@compiled(parallel=True, error_model="numpy")
def gradient_moments(
    x: FeatureMaps,
    scale: Floats,
    shift: Floats,
    origin: Floats,
    floor: float,
    ceiling: float,
    gradient: FeatureMaps,
    first_channel: int,
    parts: int,
) -> NDArray[np.float64]:
    """Sums of g and of g · (x − origin) over rows, g being the gradient where `scaled` was within its limits: [2, channels]."""
    rows, channels = x.shape
    bottom, top = scale.dtype.type(floor), scale.dtype.type(ceiling)
    sums = np.zeros((parts, 2, channels))
    for part in prange(parts):
        first, last = part * rows // parts, (part + 1) * rows // parts
        one, two = np.zeros_like(origin), np.zeros_like(origin)
        for start in range(first, last, BLOCK):
            one[:] = 0
            two[:] = 0
            for row in range(start, min(start + BLOCK, last)):
                arriving = gradient[row, first_channel : first_channel + channels]
                for k in range(channels):
                    value = widened(x[row, k])
                    passing = widened(arriving[k]) if bottom < fused(value, scale[k], shift[k]) < top else scale.dtype.type(0)
                    one[k] += passing
                    two[k] = fused(passing, value - origin[k], two[k])
            for k in range(channels):
                sums[part, 0, k] += one[k]
                sums[part, 1, k] += two[k]
    return sums.sum(0)  # type: ignore[no-any-return]


@compiled(parallel=True, error_model="numpy")
def gradient_of_scaled(
    x: FeatureMaps,
    scale: Floats,
    shift: Floats,
    origin: Floats,
    slope: Floats,
    constant: Floats,
    floor: float,
    ceiling: float,
    gradient: FeatureMaps,
    first_channel: int,
    out: FeatureMaps,
    parts: int,
) -> None:
    """Write g · scale + (x − origin) · slope + constant into `out` [rows, channels], g as in `gradient_moments`."""
    rows, channels = x.shape
    bottom, top = scale.dtype.type(floor), scale.dtype.type(ceiling)
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            arriving = gradient[row, first_channel : first_channel + channels]
            for k in range(channels):
                value = widened(x[row, k])
                passing = widened(arriving[k]) if bottom < fused(value, scale[k], shift[k]) < top else scale.dtype.type(0)
                inner = fused(value - origin[k], slope[k], constant[k])
                out[row, k] = narrowed(fused(passing, scale[k], inner), out[row, k])


@compiled(parallel=True, error_model="numpy")
def gradient_sums_of_rows(
    x: FeatureMaps, mean: Floats, inverse: Floats, gradient: FeatureMaps, parts: int
) -> NDArray[np.float64]:
    """Sums over rows of g · (x − mean) · inverse and of g: [2, channels]; `mean` and `inverse` are those of each row."""
    rows, channels = x.shape
    sums = np.zeros((parts, 2, channels))
    for part in prange(parts):
        first, last = part * rows // parts, (part + 1) * rows // parts
        one, two = np.zeros(channels, mean.dtype), np.zeros(channels, mean.dtype)
        for start in range(first, last, BLOCK):
            one[:] = 0
            two[:] = 0
            for row in range(start, min(start + BLOCK, last)):
                for k in range(channels):
                    arriving = widened(gradient[row, k])
                    one[k] = fused(arriving, (widened(x[row, k]) - mean[row]) * inverse[row], one[k])
                    two[k] += arriving
            for k in range(channels):
                sums[part, 0, k] += one[k]
                sums[part, 1, k] += two[k]
    return sums.sum(0)  # type: ignore[no-any-return]


@compiled(parallel=True, error_model="numpy")
def pooled(
    x: FeatureMaps,
    side: int,
    stride: int,
    direction: Floats,
    rectify: bool,
    out: FeatureMaps,
    winners: NDArray[np.uint8],
    first_channel: int,
    parts: int,
) -> None:
    """Pooling without padding: x [n, h, w, channels] -> channels from `first_channel` on of `out` [n, h', w', …].

    The largest value of each window where `direction` is 1, the smallest where it is -1; windows are clipped at the far edges.
    `winners`, like `out`, get its place in the window, row · side + column, the first of equals; `NONE` where `rectify` made
    it 0.
    """
    n, height, width, channels = x.shape
    zero = out.dtype.type(0)
    last_channel = first_channel + channels
    for part in prange(parts):
        for image in range(part * n // parts, (part + 1) * n // parts):
            for i in range(out.shape[1]):
                for j in range(out.shape[2]):
                    target = out[image, i, j, first_channel:last_channel]
                    winner = winners[image, i, j, first_channel:last_channel]
                    target[:] = x[image, i * stride, j * stride]
                    winner[:] = 0
                    for row in range(min(side, height - i * stride)):
                        for column in range(min(side, width - j * stride)):
                            source = x[image, i * stride + row, j * stride + column]
                            place = np.uint8(row * side + column)
                            for k in range(channels):
                                value, most = widened(source[k]), widened(target[k])
                                better = value * direction[k] > most * direction[k] or value != value
                                target[k] = source[k] if better else target[k]
                                winner[k] = place if better else winner[k]
                    if rectify:
                        for k in range(channels):
                            negative = widened(target[k]) <= 0
                            target[k] = zero if negative else target[k]
                            winner[k] = np.uint8(NONE) if negative else winner[k]


@compiled(parallel=True, error_model="numpy")
def gradient_of_pooled(
    gradient: FeatureMaps, winners: NDArray[np.uint8], side: int, stride: int, out: FeatureMaps, parts: int
) -> None:
    """Write to `out` [n, h, w, channels] what reaches the values that `pooled` chose from."""
    n, height, width, channels = out.shape
    zero = out.dtype.type(0)
    once = side == stride and gradient.shape[1] * side >= height and gradient.shape[2] * side >= width
    for part in prange(parts):
        for image in range(part * n // parts, (part + 1) * n // parts):
            if not once:
                out[image] = 0
            for i in range(gradient.shape[1]):
                for j in range(gradient.shape[2]):
                    arriving, winner = gradient[image, i, j], winners[image, i, j]
                    for row in range(min(side, height - i * stride)):
                        for column in range(min(side, width - j * stride)):
                            target = out[image, i * stride + row, j * stride + column]
                            place = np.uint8(row * side + column)
                            if not once:
                                for k in range(channels):
                                    if winner[k] == place:
                                        target[k] = narrowed(widened(target[k]) + widened(arriving[k]), target[k])
                            else:
                                for k in range(channels):
                                    target[k] = arriving[k] if winner[k] == place else zero


@compiled(parallel=True, error_model="numpy")
def gradient_of_normalized_and_pooled(
    x: FeatureMaps,
    origin: Floats,
    slope: Floats,
    constant: Floats,
    gradient: FeatureMaps,
    winners: NDArray[np.uint8],
    side: int,
    first_channel: int,
    out: FeatureMaps,
    parts: int,
) -> None:
    """As `gradient_of_pooled`, of windows that do not overlap, plus (x − origin) · slope + constant for every value."""
    n, height, width, channels = x.shape
    last_channel = first_channel + channels
    for part in prange(parts):
        for image in range(part * n // parts, (part + 1) * n // parts):
            for row in range(height):
                for column in range(width):
                    i, j = row // side, column // side
                    place = np.uint8((row - i * side) * side + column - j * side)
                    source, target = x[image, row, column], out[image, row, column]
                    arriving = gradient[image, i, j, first_channel:last_channel]
                    winner = winners[image, i, j, first_channel:last_channel]
                    for k in range(channels):
                        chosen = widened(arriving[k]) if winner[k] == place else slope.dtype.type(0)
                        value = fused(widened(source[k]) - origin[k], slope[k], constant[k]) + chosen
                        target[k] = narrowed(value, target[k])


@compiled(parallel=True, error_model="numpy")
def means(x: FeatureMaps, mask: NDArray[np.uint8], kept: int, factor: float, out: Floats, parts: int) -> None:
    """Write to `out` [n, channels] the mean over the rows of x [n, rows, channels] · factor, where its mask lies below `kept`.

    `mask` is of the shape of x, or empty: then all are taken.
    """
    n, rows, channels = x.shape
    whole = mask.size == 0
    each = out.dtype.type(factor / rows)
    for part in prange(parts):
        for image in range(part * n // parts, (part + 1) * n // parts):
            target = out[image]
            target[:] = 0
            for row in range(rows):
                source = x[image, row]
                if whole:
                    for k in range(channels):
                        target[k] += widened(source[k])
                else:
                    byte = mask[image, row]
                    for k in range(channels):
                        target[k] += widened(source[k]) if byte[k] < kept else out.dtype.type(0)
            for k in range(channels):
                target[k] *= each


@compiled(parallel=True, error_model="numpy")
def gradient_of_means(gradient: Floats, mask: NDArray[np.uint8], kept: int, factor: float, out: FeatureMaps, parts: int) -> None:
    """Write to `out` [n, rows, channels] what reaches the x of `means`; `gradient` is [n, channels]."""
    n, rows, channels = out.shape
    whole = mask.size == 0
    each = gradient.dtype.type(factor / rows)
    for part in prange(parts):
        for image in range(part * n // parts, (part + 1) * n // parts):
            arriving = gradient[image]
            for row in range(rows):
                target = out[image, row]
                if whole:
                    for k in range(channels):
                        target[k] = narrowed(arriving[k] * each, target[k])
                else:
                    byte = mask[image, row]
                    for k in range(channels):
                        passing = arriving[k] * each if byte[k] < kept else gradient.dtype.type(0)
                        target[k] = narrowed(passing, target[k])
