"""Probability calibration: a temperature for the logits, and a threshold below which an answer is unsure."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from squeezekit.modelfile.section import JsonSection

# The share of the right answers on the validation images that the threshold keeps.
KEPT_SHARE = 0.95


class ProbabilityCalibration(JsonSection):
    """The section `conf`: logits are divided by `temperature`; an answer less probable than `threshold` is unsure."""

    title = "its probability calibration"

    # A fit gives e⁻³ to e³.
    temperature: float = Field(1.0, ge=1e-3, le=1e3)
    threshold: float = Field(0.0, ge=0, le=1)

    @classmethod
    def fit(cls, logits: Tensor, labels: Tensor) -> ProbabilityCalibration:
        """Fit both to the logits [n, classes] and labels [n] of validation images.

        The temperature has the least cross-entropy (Guo et al., 2017, arXiv 1706.04599, section 4.2) to labels that are as
        certain as n images allow, n + 1 in n + 2 (Platt, 1999, section 2.2). The threshold keeps 95 % of the right answers.
        """
        # Otherwise a network without an error on the validation images would be called certain.
        temperature = fit_temperature(logits, labels, doubt=1 / (len(labels) + 2))
        probabilities, answers = torch.softmax(logits.double() / temperature, 1).max(1)
        right = probabilities[answers == labels].sort().values
        threshold = float(right[int((1 - KEPT_SHARE) * len(right))]) if len(right) else 0.0
        # Rounded down: no answer is more probable than 1.
        return cls(temperature=round(temperature, 4), threshold=math.floor(1e4 * threshold) / 1e4)


def fit_temperature(logits: Tensor, labels: Tensor, doubt: float) -> float:
    """The temperature of the least cross-entropy, e⁻³ to e³, where `doubt` (0…1) of each label goes to the other classes.

    The loss is convex in 1 ÷ temperature: a golden-section search over the logarithm finds its minimum.
    """
    low, high, ratio = -3.0, 3.0, (5**0.5 - 1) / 2
    # torch smooths over all classes, the right one too.
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
