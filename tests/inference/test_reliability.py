"""Confidence and right answers."""

import numpy as np
import pytest
import torch

from squeezekit.data.image_set import ImageSet
from squeezekit.inference.evaluation import _evaluation
from squeezekit.inference.reliability import class_thresholds, confidence_bins


def evaluation_of(probabilities, labels):
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    classes = tuple("abcdefgh"[: np.shape(probabilities)[1]])
    images = ImageSet(images, np.array(labels), classes, "", mirrorable=False)
    return _evaluation(torch.tensor(np.log(probabilities)), torch.tensor(labels), images)


def test_bins_add_up_to_the_calibration_error():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([0.3] * 4, 200)
    found = evaluation_of(probabilities, random.integers(0, 4, 200))
    bins = confidence_bins(found)
    assert sum(each.images for each in bins) == 200 and all(each.low <= each.confidence <= each.high for each in bins)
    gaps = sum(each.images * abs(each.accuracy - each.confidence) for each in bins)
    assert gaps / 200 == pytest.approx(found.calibration_error, abs=1e-6)


def two_classes(*sure):
    return [[1 - p, p] for p in sure]


def test_the_smallest_threshold_that_is_precise_enough():
    # Answers b, from the surest: right, right, wrong, right, right, right, wrong; nothing is answered a.
    found = evaluation_of(two_classes(0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6), [1, 1, 0, 1, 1, 1, 0])
    assert class_thresholds(found, 0.95) == [None, pytest.approx(0.9)]
    assert class_thresholds(found, 0.8) == [None, pytest.approx(0.7)]
    assert class_thresholds(found, 0.7) == [None, pytest.approx(0.6)]


def test_none_where_the_surest_answer_is_wrong():
    assert class_thresholds(evaluation_of(two_classes(0.99, 0.9, 0.9), [0, 1, 1]), 0.95) == [None, None]


def test_equal_probabilities_stand_or_fall_together():
    found = evaluation_of(two_classes(0.9, 0.8, 0.8), [1, 1, 0])
    assert class_thresholds(found, 0.95)[1] == pytest.approx(0.9)
