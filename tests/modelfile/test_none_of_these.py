"""Pictures of none of the classes are told by integers."""

import numpy as np
import pytest
import torch

from squeezekit import SqueezekitError
from squeezekit.modelfile.none_of_these import MAX_COMPARED, NoneOfThese, rounded


def drawn(count, classes=5, seed=0):
    """Logits of images of known classes, and of others."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=random)
    own = 6 * torch.eye(classes)[labels] + torch.randn(count, classes, generator=random)
    return own, labels, torch.randn(count, classes, generator=random)


@pytest.mark.parametrize("classes", [2, 5, MAX_COMPARED + 1])
@pytest.mark.parametrize("fraction", [16, 5])
def test_what_is_kept_is_known_and_others_are_not(classes, fraction):
    own, labels, others = drawn(2000, classes)
    validation = drawn(2000, classes, seed=1)[0]
    rule = NoneOfThese.fit((own, labels), validation)
    assert NoneOfThese.read_for(rule.model_dump(mode="json"), classes) == rule
    test = rule.test(16)
    assert test(rounded(validation)).double().mean() == pytest.approx(0.95, abs=0.002)
    assert test(rounded(others)).double().mean() < 0.5
    # Far below all of them.
    assert not test(rounded(validation - 60)).any()
    coarse = rule.test(fraction)((validation.double() * 2**fraction).round().long())
    assert (coarse == test(rounded(validation))).double().mean() > 0.98


@pytest.mark.parametrize("count", [4, 8, 20])
def test_of_few_images_as_many_others_are_kept(count):
    own, labels, _ = drawn(2000)
    fresh = rounded(drawn(2000, seed=1)[0])
    kept = []
    for seed in range(2, 42):
        validation = drawn(count, seed=seed)[0]
        test = NoneOfThese.fit((own, labels), validation).test(16)
        kept.append(float(test(fresh).double().mean()))
    assert 0.9 < sum(kept) / len(kept) < 0.985


def test_few_images_and_classes_without_one_have_a_rule():
    own, labels, others = drawn(40)
    rule = NoneOfThese.fit((own[labels < 3], labels[labels < 3]), own[:3])
    assert len(rule.weights) == 3 and rule.test(16)(rounded(own[:3])).all()
    same = NoneOfThese.fit((torch.zeros(4, 3), torch.tensor([0, 1, 2, 2])), torch.zeros(4, 3))
    assert same.test(16)(rounded(torch.zeros(1, 3))).all() and others is not None


def test_sums_are_those_of_python_integers():
    rule = NoneOfThese(weights=((127,) * 4, (-127,) * 4), biases=(-(1 << 31), (1 << 31) - 1), least=-(1 << 31))
    logits = np.array([[1 << 30] * 4, [-(1 << 30)] * 4, [0, 0, 1 << 30, 5]])
    rows = [(row, bias << 16 >> 6) for row, bias in zip(rule.weights, rule.biases, strict=True)]
    sums = [max(sum(w * int(x) for w, x in zip(row, one, strict=True)) + bias for row, bias in rows) for one in logits]
    assert rule.test(16).scores(torch.from_numpy(logits)).tolist() == sums


@pytest.mark.parametrize(
    "content",
    [
        {"weights": [[1, 2]], "biases": [0], "least": 0},
        {"weights": [[1, 2, 3]], "biases": [0, 1], "least": 0},
        {"weights": [], "biases": [0, 1], "least": 0},
        {"weights": [], "biases": [], "least": 0},
        {"weights": [], "biases": [0], "least": 1 << 31},
        {"weights": [], "biases": [0]},
        {"weights": [[1, 2, 128]], "biases": [0], "least": 0},
        {"weights": [[1, 2, 3]], "biases": [1 << 31], "least": 0},
        {"weights": [[1, 2, 3.5]], "biases": [0], "least": 0},
        {"weights": [[1, 2, 3]] * 33, "biases": [0] * 33, "least": 0},
    ],
)
def test_a_rule_that_does_not_fit_is_refused(content):
    with pytest.raises(SqueezekitError, match=r"damaged: its rule for none of these.*get the file again"):
        NoneOfThese.read_for(content, 3)
