"""Figures of an evaluation against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn import metrics

from squeezekit.inference.evaluation import _difference, _per_class


@pytest.mark.parametrize("seed", range(4))
def test_precision_recall_and_f1_are_scikit_learns(seed):
    random = np.random.default_rng(seed)
    # Of five classes one has no images, and now and then one is never answered.
    actual, predicted = random.integers(0, 4, 12), random.integers(0, 5, 12)
    confusion = torch.from_numpy(metrics.confusion_matrix(actual, predicted, labels=np.arange(5)))
    expected = metrics.precision_recall_fscore_support(actual, predicted, labels=np.arange(5), zero_division=0.0)
    for found, *others in zip(_per_class(confusion, "abcde").values(), *expected, strict=True):
        assert list(found.values()) == pytest.approx(others)


@pytest.mark.parametrize(
    ("known", "found", "sentence"),
    [
        ("ab", "abc", "has c, which the model does not know"),
        ("abc", "ab", "lacks c of the model's classes"),
        ("ab", "cd", "lacks a, b of the model's classes and has c, d, which the model does not know"),
        ("ab", "ba", "has the model's classes in another order"),
        ("abcdefgh", "h", "lacks a, b, c, d, e and 2 more of the model's classes"),
    ],
)
def test_classes_that_differ_are_named(known, found, sentence):
    assert _difference(tuple(known), tuple(found)) == sentence
