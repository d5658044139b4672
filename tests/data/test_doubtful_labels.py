"""Confident learning."""

import numpy as np

from squeezekit.data.doubtful_labels import label_doubts


def test_confidently_another_class_is_flagged_and_the_surest_comes_first():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    sure = np.array([0.9, 0.8, 0.9, 0.05, 0.1, 0.2, 0.1, 0.7])
    found = label_doubts(labels, np.stack([sure, 1 - sure], 1))
    assert found.count == 2 and found.order[:2].tolist() == [3, 7] and found.likelier[:2].tolist() == [1, 0]
    assert sorted(found.order) == list(range(8))


def test_a_class_that_is_seldom_sure_is_not_flagged_for_that():
    """Of class 1 no image reaches one half, and the threshold is what its own images have."""
    labels = np.repeat([0, 1], 50)
    random = np.random.default_rng(0)
    own = np.concatenate([random.uniform(0.9, 1, 50), random.uniform(0.4, 0.5, 50)])
    probabilities = np.where(labels[:, None] == [0, 1], own[:, None], 1 - own[:, None])
    assert label_doubts(labels, probabilities).count == 0


def test_planted_labels_are_found_and_a_class_without_images_is_none():
    random = np.random.default_rng(1)
    truth = random.integers(0, 4, 500)
    logits = 6 * (truth[:, None] == np.arange(5)) + random.normal(0, 0.7, (500, 5))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels, wrong = truth.copy(), random.permutation(500)[:15]
    labels[wrong] = (labels[wrong] + 1) % 4
    found = label_doubts(labels, probabilities)
    assert len(set(wrong) & set(found.order[: found.count])) >= 13 and found.count < 25
    assert (found.likelier[: found.count] != labels[found.order[: found.count]]).all()
