"""The plan of a network in integers: what is computed from an image's bytes to its logits.

Feature maps are uint8 [height, width, channels], each with one scale and a zero point (Jacob et al., 2018, arXiv 1712.05877,
section 2.1); weights are int8, with a scale for each filter; sums are int32. This is the one definition of the arithmetic:
`IntegerNetwork` computes it in Python, the C runtime in C, to the same bit. Arrays are NumPy's, or on a device without NumPy any
that have a shape.

- **Sum**: weights times the bytes under the filter, plus a bias that covers the zero points of both feature maps; below 2**28.
- **Rescaling**: with c the sum, at least 0, and g the filter's gain, `((c >> 12) · g + ((c & 4095) · g >> 12) + half) >> shift`,
  half being `1 << (shift - 1)`, then at most 255: rounded to nearest, halves up. Every value fits 32 bits without a sign.
- **Pooled** convolutions give the largest sum of each 2 × 2 window, rescaled once: gains are not negative.
- **Residual** (a bypass): to the rescaled sum comes `(byte · gain + offset) >> shift` of another feature map, less `below`; then
  at least 0 and at most 255.
- **Head**: the sums of each channel over all positions, then the last filters; or these first, ReLU, then sums over positions.
  Logits are `(sum · gain + half) >> shift` in 64 bits, rounded down, in units of 2**-fraction.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

LOW_BITS = 12  # A sum is multiplied in two parts: its bits from here on, and those below.
MAX_SUM = 1 << 28
MAX_GAIN = (1 << 16) - 1


@dataclass(frozen=True)
class FeatureMap:
    """Shape, scale and zero point of a feature map, uint8 [height, width, channels]: a byte q means `scale` · (q - zero)."""

    height: int
    width: int
    channels: int
    scale: float
    zero: int = 0

    @property
    def bytes(self) -> int:
        """Its size."""
        return self.height * self.width * self.channels


@dataclass(frozen=True)
class IntegerResidual:
    """What a bypass adds: a byte q of the map `source` counts `((q · gain + offset) >> shift) - below` steps of the target.

    `below`, 0 without ReLU behind the sum, are steps by which both are raised above zero; no number here is negative.
    """

    source: int
    gain: int
    offset: int
    shift: int
    below: int = 0


@dataclass(frozen=True)
class IntegerConvolution:
    """Feature map `source` -> channels from `first` on of `target`; both are indices into `IntegerPlan.feature_maps`.

    weights: int8 [filters, kernel, kernel, in channels]; bias, gain: [filters]. `border` are the bytes around the source, one a
    channel. With `pooled`, 2 × 2 max-pooling of stride 2 follows, windows cut off at the edges. With `depthwise` each filter
    sees the channel of its own number alone: weights [filters, kernel, kernel, 1].
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
    residual: IntegerResidual | None = None
    depthwise: bool = False

    @property
    def kernel(self) -> int:
        """Side of the filters."""
        return int(self.weights.shape[1])

    @property
    def filters(self) -> int:
        """How many there are."""
        return int(self.weights.shape[0])


@dataclass(frozen=True)
class IntegerPooling:
    """Max-pooling of stride 2 with windows of `size` × `size`, cut off at the edges; bytes keep their scale and zero point."""

    source: int
    target: int
    size: int


@dataclass(frozen=True)
class IntegerHead:
    """The last feature map -> logits, int32 [classes].

    weights: int8 [classes, channels]; bias, gain: [classes]. With `relu`, each position's sum is rectified and rescaled, and
    these are added; `high` is the largest of them on calibration images, as a logit. Without it, bytes are added over positions
    first, and `(their sum + half) >> drop` is multiplied: large feature maps would otherwise overflow 32 bits.
    """

    source: int
    weights: NDArray[np.int8]
    bias: Integers
    gain: Integers
    shift: int
    relu: bool
    drop: int = 0
    high: float = 0.0

    @property
    def filters(self) -> int:
        """Classes."""
        return int(self.weights.shape[0])


Step = IntegerConvolution | IntegerPooling | IntegerHead


@dataclass(frozen=True)
class IntegerPlan:
    """The whole computation: `feature_maps[0]` is the image, `steps` are in the order in which they are computed.

    Logits are integers in units of 2**-`fraction`. With `mirrored`, those of the image and of its mirror image are added.
    """

    feature_maps: tuple[FeatureMap, ...]
    steps: tuple[Step, ...]
    fraction: int
    mirrored: bool

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image, its mirror image included where that is computed too."""
        return sum(self.macs_of(step) for step in self.steps)

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(prod(step.weights.shape) for step in self.steps if isinstance(step, IntegerConvolution | IntegerHead))

    def sum_shape(self, step: IntegerConvolution) -> tuple[int, int]:
        """Height and width of a convolution's sums, before its pooling."""
        source = self.feature_maps[step.source]
        height, width = ((side + 2 * step.padding - step.kernel) // step.stride + 1 for side in (source.height, source.width))
        return height, width

    def macs_of(self, step: Step) -> int:
        """Those of one step for one image."""
        return (2 if self.mirrored else 1) * self._macs(step)

    def _macs(self, step: Step) -> int:
        if isinstance(step, IntegerPooling):
            return 0
        if isinstance(step, IntegerHead):
            source = self.feature_maps[step.source]
            return prod(step.weights.shape) * (source.height * source.width if step.relu else 1)
        height, width = self.sum_shape(step)
        return prod(step.weights.shape) * height * width
