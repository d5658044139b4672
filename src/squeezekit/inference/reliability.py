"""How far probabilities can be relied on: by bins of confidence, and from which threshold an answer is precise enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squeezekit.inference.evaluation import Evaluation

# As many as the expected calibration error has (`Evaluation.calibration_error`).
BINS = 15


@dataclass(frozen=True)
class ConfidenceBin:
    """Images whose largest probability is in low…high: how many, the mean of that probability, and the share that is right."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


def confidence_bins(evaluation: Evaluation) -> list[ConfidenceBin]:
    """Equal bins of 0…1 that hold an image (Guo et al., 2017, arXiv 1706.04599, section 2)."""
    confidence, right = _answers(evaluation)
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        ConfidenceBin(
            number / BINS,
            (number + 1) / BINS,
            int(chosen.sum()),
            float(confidence[chosen].mean()),
            float(right[chosen].mean()),
        )
        for number in range(BINS)
        if (chosen := bin_of == number).any()
    ]


def class_thresholds(evaluation: Evaluation, precision: float) -> list[float | None]:
    """For each class the least probability p so that of the images answered so with p or more a share of `precision` is right.

    None where no threshold reaches it; give images that did not train the network.
    """
    confidence, right = _answers(evaluation)
    answers = evaluation.probabilities.argmax(1)
    return [
        _threshold(confidence[answers == label], right[answers == label], precision)
        for label in range(evaluation.probabilities.shape[1])
    ]


def _threshold(confidence: NDArray[np.float64], right: NDArray[np.bool_], precision: float) -> float | None:
    order = np.argsort(-confidence, kind="stable")
    confidence, shares = confidence[order], np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # Of equal probabilities none can be kept without the others.
    last_of_equals = np.append(confidence[1:] < confidence[:-1], True)[: len(order)]
    reached = np.flatnonzero((shares >= precision) & last_of_equals)
    return float(confidence[reached[-1]]) if len(reached) else None


def _answers(evaluation: Evaluation) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of each image the largest probability, and whether it is that of the right class."""
    probabilities = evaluation.probabilities.astype(np.float64)
    return probabilities.max(1), probabilities.argmax(1) == evaluation.images.labels
