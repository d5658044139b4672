"""A network of the SqueezeNet family in integers: what is computed from a picture's bytes to its logits, step by step.

Maps are uint8 [height, width, channels], each with one scale and a zero (Jacob et al., 2018, arXiv 1712.05877, section 2.1);
weights are int8, with a scale for each filter; sums are int32. This is the one definition of the arithmetic: `IntegerNetwork`
computes it in Python, the C runtime in C, to the same bit.

- **Sum**: weights times the bytes under the filter, plus a bias that also carries the zeros of both maps; below 2**28.
- **Rescaling**: with c the sum, at least 0, and g the filter's gain, `((c >> 12) · g + ((c & 4095) · g >> 12) + half) >> shift`,
  half being `1 << (shift - 1)`, then at most 255: rounded to nearest, halves up. Everything fits 32 bits without a sign.
- **Pooled** convolutions give the largest sum of each 2 × 2 window, rescaled once: gains are not negative.
- **Gating**: with t the sigmoid of the gate's byte in 255ths and z the map's zero, `(byte · t + z · (255 - t) + 127) ÷ 255`,
  rounded down.
- **Residual** (a bypass): to the rescaled sum comes `(byte · gain + offset) >> shift` of another map, then at most 255.
- **Head**: the sums of each channel over all positions, then the last filters; or these first, ReLU, then sums over positions.
  Logits are `(sum · gain + half) >> shift` in 64 bits, rounding down, in units of 2**-fraction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

PART = 12  # A sum is multiplied in two parts: its bits from here on, and those below.
MOST_SUM = 1 << 28
MOST_GAIN = (1 << 16) - 1


@dataclass(frozen=True)
class Map:
    """uint8 [height, width, channels]; a byte q means `scale` · (q - zero)."""

    height: int
    width: int
    channels: int
    scale: float
    zero: int = 0

    @property
    def bytes(self) -> int:
        """What it takes."""
        return self.height * self.width * self.channels


@dataclass(frozen=True)
class Residual:
    """What a bypass adds: a byte q of the map `source` counts `(q · gain + offset) >> shift` steps of the target."""

    source: int
    gain: int
    offset: int
    shift: int


@dataclass(frozen=True)
class Convolution:
    """Maps `source` -> channels `first` … of `target`; maps are numbers in `Plan.maps`.

    weights: int8 [filters, kernel, kernel, in channels]; bias, gain [filters]. `border` are the bytes that stand around the
    source, one a channel. With `pooled`, 2 × 2 max-pooling of stride 2 follows, windows at the edge cut off. With `depthwise`
    each filter sees the channel of its own number alone: weights [filters, kernel, kernel, 1].
    """

    source: int
    target: int
    weights: NDArray[np.int8]
    bias: Integers
    gain: Integers
    shift: int
    border: tuple[int, ...]
    stride: int = 1
    padding: int = 0
    first: int = 0
    pooled: bool = False
    residual: Residual | None = None
    depthwise: bool = False

    @property
    def kernel(self) -> int:
        """Side of the filters."""
        return int(self.weights.shape[1])


def sums_bound(weights: NDArray[np.int8], bias: Integers) -> Integers:
    """What no sum of weights [filters, ...] times bytes exceeds in magnitude."""
    flat = np.abs(weights.reshape(len(weights), -1).astype(np.int64))
    found: Integers = 255 * flat.sum(1) + np.abs(bias)
    return found


@dataclass(frozen=True)
class Pooling:
    """Max-pooling of stride 2 with windows of `size` × `size`, cut off at the edges: the same bytes, scale and zero."""

    source: int
    target: int
    size: int


@dataclass(frozen=True)
class Gating:
    """The first half of the channels, each times the sigmoid of one of the second half: `source` -> `target`, of the same scale.

    `zero` is that of both maps; table: uint8 [256], the sigmoid of a byte of the second half in 255ths.
    """

    source: int
    target: int
    zero: int
    table: NDArray[np.uint8]


@dataclass(frozen=True)
class Head:
    """The last map -> logits, int32 [classes].

    weights: int8 [classes, channels]; bias, gain [classes]. With `relu`, each position's sum is rectified and rescaled, and these
    are added; without, bytes are added over positions first, and `(their sum + half) >> drop` taken further: maps may be so large
    that sums would not fit.
    """

    source: int
    weights: NDArray[np.int8]
    bias: Integers
    gain: Integers
    shift: int
    relu: bool
    drop: int = 0


Step = Convolution | Pooling | Gating | Head


@dataclass(frozen=True)
class Plan:
    """The whole computation; `maps[0]` is the picture, as bytes, and `steps` are in the order in which they are done.

    Logits are integers, in units of 2**-`fraction`; with `mirrored`, those of the picture and of its mirror image are added.
    """

    maps: tuple[Map, ...]
    steps: tuple[Step, ...]
    fraction: int
    mirrored: bool

    @property
    def macs(self) -> int:
        """Multiply-adds of one picture."""
        return (2 if self.mirrored else 1) * sum(self._macs(step) for step in self.steps)

    def _macs(self, step: Step) -> int:
        if isinstance(step, Pooling | Gating):
            return 0
        if isinstance(step, Head):
            return step.weights.size * (self.maps[step.source].height * self.maps[step.source].width if step.relu else 1)
        height, width = self.positions(step)
        return step.weights.size * height * width

    def positions(self, step: Convolution) -> tuple[int, int]:
        """Height and width of what a convolution computes, before its pooling."""
        source = self.maps[step.source]
        height, width = ((side + 2 * step.padding - step.kernel) // step.stride + 1 for side in (source.height, source.width))
        return height, width

    @property
    def weights(self) -> int:
        """How many there are."""
        return sum(step.weights.size for step in self.steps if isinstance(step, Convolution | Head))
