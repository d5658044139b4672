"""When to believe a network: a temperature for its probabilities and a threshold below which it is unsure."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from squeezekit.modelfile.section import Section

# Of the right answers on the validation images.
KEPT = 0.95


class ProbabilityCalibration(Section):
    """The section `conf`: logits are divided by `temperature`; an answer less probable than `threshold` is unsure."""

    subject = "its confidence"

    temperature: float = Field(1.0, gt=0, lt=1e6)
    threshold: float = Field(0.0, ge=0, le=1)

    @classmethod
    def calibrated(cls, logits: Tensor, labels: Tensor) -> ProbabilityCalibration:
        """From the logits [n, classes] of validation images.

        The temperature of least cross-entropy (Guo et al., 2017, section 4.2) to labels that are as sure as n images allow
        (n + 1 in n + 2, after Platt, 1999, section 2.2), and the threshold that keeps 95 % of the right answers.
        """
        # Else answers that are all right would be called certain.
        temperature = temperature_of(logits, labels, doubt=1 / (len(labels) + 2))
        confidence, answers = torch.softmax(logits.double() / temperature, 1).max(1)
        right = confidence[answers == labels].sort().values
        threshold = float(right[int((1 - KEPT) * len(right))]) if len(right) else 0.0
        # Rounded down: no answer is more probable than 1.
        return cls(temperature=round(temperature, 4), threshold=math.floor(1e4 * threshold) / 1e4)


def temperature_of(logits: Tensor, labels: Tensor, doubt: float) -> float:
    """Of least cross-entropy, e⁻³ to e³, where `doubt` (0…1) of each label goes to the other classes.

    The loss is convex in 1 ÷ temperature: a golden-section search over its logarithm finds the least.
    """
    low, high, ratio = -3.0, 3.0, (5**0.5 - 1) / 2
    # torch gives the right class its share, too.
    classes = logits.shape[1]
    smoothing = doubt * classes / (classes - 1)

    def loss(power: float) -> float:
        return float(F.cross_entropy(logits.double() / 2.718281828**power, labels, label_smoothing=smoothing))

    for _ in range(40):
        first, second = high - ratio * (high - low), low + ratio * (high - low)
        if loss(first) < loss(second):
            high = second
        else:
            low = first
    return float(2.718281828 ** ((low + high) / 2))
