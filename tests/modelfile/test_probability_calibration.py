"""Probabilities are as certain as the answers are right."""

import pytest
import torch

from squeezekit.modelfile.probability_calibration import ProbabilityCalibration


def test_the_temperature_undoes_what_was_multiplied():
    torch.manual_seed(0)
    logits = torch.randn(4000, 5)
    labels = torch.distributions.Categorical(logits=logits).sample()
    calibration = ProbabilityCalibration.fit(3 * logits, labels)
    assert calibration.temperature == pytest.approx(3, rel=0.1)
    probabilities, answers = torch.softmax(3 * logits / calibration.temperature, 1).max(1)
    kept = (probabilities[answers == labels] >= calibration.threshold).double().mean()
    assert kept == pytest.approx(0.95, abs=0.002)


@pytest.mark.parametrize("images", [10, 1000])
def test_a_few_right_answers_make_no_certainty(images):
    logits = 5 * torch.eye(4)[torch.arange(images) % 4]
    calibration = ProbabilityCalibration.fit(logits, torch.arange(images) % 4)
    probability = torch.softmax(logits / calibration.temperature, 1).max(1).values.mean()
    assert 1 - probability == pytest.approx(1 / (images + 2), rel=0.01)


@pytest.mark.slow
def test_certain_answers_are_not_unsure():
    logits = torch.zeros(100_000, 5)
    logits[:, 0] = 1
    calibration = ProbabilityCalibration.fit(logits, torch.zeros(100_000, dtype=torch.long))
    probabilities = torch.softmax(logits.double() / calibration.temperature, 1).max(1).values
    assert 0.99995 < probabilities.min() < 1 and (probabilities >= calibration.threshold).all()
