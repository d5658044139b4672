"""Images without labels beside those that have one."""

import numpy as np
import pytest
import torch

from squeezekit.data.batches import Batches
from squeezekit.data.image_set import ImageSet
from squeezekit.data.mixed_batches import MixedBatches, unlabelled_in


def numbered(count, labels):
    """Images of one pixel each that holds its number."""
    pixels = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    return ImageSet(pixels, np.full(count, labels, np.int64), (), "", True)


def mixed(labelled=24, others=11, batch_size=9, beside=3):
    return MixedBatches(Batches(numbered(others, -1), batch_size=beside, seed=1), numbered(labelled, 0), batch_size=batch_size)


def numbers(images):
    return (images.flatten() * 255).round().int().tolist()


def test_an_epoch_has_every_labelled_image_once_and_the_others_take_turns():
    batches = mixed()
    assert batches.steps == 4 and batches.sizes == [9] * 4
    seen = []
    for epoch in range(3):
        labelled = []
        for images, labels in batches.shuffled(epoch):
            assert labels.tolist() == [0] * 6 + [-1] * 3
            labelled += numbers(images)[:6]
            seen += numbers(images)[6:]
        assert sorted(labelled) == list(range(24))
    # Eleven are three whole batches and two images, which come in another turn.
    assert all(len(set(seen[start : start + 9])) == 9 for start in range(0, 36, 9))
    assert set(seen) == set(range(11))


def test_what_comes_next_depends_on_epoch_and_step_alone():
    whole = [batch for epoch in range(3) for batch in mixed().shuffled(epoch)]
    for place in (3, 5, 8):
        images, labels = next(mixed().shuffled(*divmod(place, 4)))
        assert torch.equal(images, whole[place][0]) and torch.equal(labels, whole[place][1])


def test_in_order_there_are_labelled_images_alone():
    assert sum(len(labels) for _, labels in mixed().in_order()) == len(mixed()) == 24


@pytest.mark.parametrize(
    ("batch_size", "labelled", "unlabelled", "count"),
    [(64, 300, 100, 16), (64, 100, 100, 32), (64, 100, 10_000, 32), (64, 1000, 1, 1), (2, 10, 30, 1), (1, 10, 30, 0)],
)
def test_a_batch_has_them_in_proportion_and_at_most_half(batch_size, labelled, unlabelled, count):
    assert unlabelled_in(batch_size, labelled, unlabelled) == count
