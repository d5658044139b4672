"""None of these: which pictures are of none of the classes, by their logits and a few integers."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from squeezekit.modelfile.section import JsonSection
from squeezekit.system.errors import SqueezekitError

# The share of one's own validation images that is kept, and that of those with the lowest logits, which is not.
KEPT_SHARE, LOW_SHARE = 0.95, 0.005
# Of fewer validation images the least ones say little of others.
FEW_OWN = 100
# With more classes the numbers would weigh too much in a small file.
MAX_COMPARED = 32
MAX_WEIGHT = 15
MAX_SCORE = 1 << 52
# Biases and the least logit are in units of 2**-6.
FRACTION = 6
# Logits in floats are rounded to units of 2**-16.
FLOAT_FRACTION = 16
Weight = Annotated[int, Field(ge=-127, le=127)]
Units = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]


class KnownTest(NamedTuple):
    """A picture is known where no logit is below `least`, and `weights` · logits + `biases` ≥ 0 in any row.

    weights: int64 [rows, classes]; None compares the largest logit alone. biases: int64 [rows]. Biases and `least` are in the
    units of the logits. No sum is 2**52 or more.
    """

    weights: NDArray[np.int64] | None
    biases: NDArray[np.int64]
    least: int

    def __call__(self, logits: Tensor) -> Tensor:
        """Integer logits, int64 [n, classes] -> whether a picture is of one of the classes, bool [n]."""
        return (logits.min(1).values >= self.least) & (self.scores(logits) >= 0)

    def scores(self, logits: Tensor) -> Tensor:
        """Integer logits, int64 [n, classes] -> the largest sum, int64 [n]."""
        sums = logits if self.weights is None else logits @ torch.from_numpy(self.weights).T
        return (sums + torch.from_numpy(self.biases)).max(1).values


class NoneOfThese(JsonSection):
    """The section `none`: a row of weights and a bias for each class, or without weights one bias for the largest logit.

    And the least logit that a picture of one's own has, since foreign ones may lie far beyond all classes. The rows are the
    relative distance of Ren et al., 2021 (arXiv 2106.09022), in the space of logits, with one variance for each logit: how much
    nearer they are to the mean of a class than to that of all images. Since both have the same variances, it is linear.
    """

    title = "its rule for none of these"

    weights: tuple[tuple[Weight, ...], ...] = Field(max_length=MAX_COMPARED)
    biases: tuple[Units, ...] = Field(min_length=1, max_length=MAX_COMPARED)
    least: Units

    @classmethod
    def fit(cls, training: tuple[Tensor, Tensor], validation: Tensor) -> NoneOfThese:
        """From logits [n, classes] and labels [n] of training images; 95 % of the validation images of these logits are kept.

        Where there are fewer than 100 of these, as many of others like them would be if their scores are normally distributed.
        A class without an image among the first has no row. Of more than 32 classes the largest logit decides.
        """
        weights, biases = _relative_distance(*training) if training[0].shape[1] <= MAX_COMPARED else (None, np.zeros(1))
        integers, coarser = rounded(validation), FLOAT_FRACTION - FRACTION
        lowest = integers.min(1).values
        least = _low_end(lowest, LOW_SHARE)
        test = KnownTest(weights, np.rint(biases * 2**FLOAT_FRACTION).astype(np.int64), least)
        scores = torch.where(lowest >= least, test.scores(integers), -MAX_SCORE)
        threshold = _low_end(scores, 1 - KEPT_SHARE)
        # Rounded so that what was meant to be kept is.
        units = np.ceil(biases * 2**FRACTION) - (threshold >> coarser)
        limited = np.clip(units, -(1 << 31), (1 << 31) - 1).astype(int)
        return cls(weights=() if weights is None else weights.tolist(), biases=limited.tolist(), least=least >> coarser)

    @classmethod
    def read_for(cls, content: Any, classes: int) -> NoneOfThese:
        """The rule that a file holds, for a network of so many classes; raises SqueezekitError."""
        return cls.read(content).checked(classes)

    def checked(self, classes: int) -> NoneOfThese:
        """Itself; raises SqueezekitError where it does not fit a network of so many classes."""
        fits = len(self.weights) == len(self.biases) and all(len(row) == classes for row in self.weights)
        if not (fits or (not self.weights and len(self.biases) == 1)):
            raise SqueezekitError("damaged: its rule for none of these does not fit its network; get the file again")
        return self

    def test(self, fraction: int) -> KnownTest:
        """The test of integer logits in units of 2**-fraction, 0 ≤ fraction ≤ 16."""
        weights = np.array(self.weights, np.int64) if self.weights else None
        biases = (np.array(self.biases, np.int64) << fraction) >> FRACTION
        return KnownTest(weights, biases, (self.least << fraction) >> FRACTION)


def _low_end(values: Tensor, share: float) -> int:
    """Below which lies that share of integers, or would lie of others where there are few of them: a prediction interval."""
    count = len(values)
    least = int(values.sort().values[int(share * count)])
    if not 1 < count < FEW_OWN:
        return least
    # Student's distribution by its first correction of the normal one (Abramowitz and Stegun, 1964, 26.7.5).
    z = NormalDist().inv_cdf(1 - share)
    deviations = z * (1 + (z * z + 1) / (4 * (count - 1))) * math.sqrt(1 + 1 / count)
    floats = values.double()
    return min(least, max(math.floor(floats.mean() - deviations * floats.std()), -MAX_SCORE))


def rounded(logits: Tensor) -> Tensor:
    """Logits in floats as integers, int64 [n, classes], in units of 2**-16 and of at most 30 bits."""
    steps: Tensor = logits.double() * 2**FLOAT_FRACTION
    return steps.round().clamp(-(1 << 30), 1 << 30).long()


def _relative_distance(logits: Tensor, labels: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Weights [rows, classes], integers of at most ±15, and biases [rows] in the unit of logits times weights."""
    x = logits.double()
    classes = torch.unique(labels)
    means = torch.stack([x[labels == k].mean(0) for k in classes])
    within = x - means[torch.searchsorted(classes, labels)]
    scales = 1 / within.square().mean(0).clamp(min=1e-6)
    centre = x.mean(0)
    weights = 2 * (means - centre) * scales
    biases = ((centre.square() - means.square()) * scales).sum(1)
    step = float(weights.abs().max()) / MAX_WEIGHT or 1.0
    return (weights / step).round().long().numpy(), (biases / step).numpy()
