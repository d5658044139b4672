"""Batches: order, augmentation, sizes, normalization."""

import numpy as np
import pytest
import torch

from squeezekit.data.batches import Batches, Normalization, channel_statistics
from squeezekit.data.image_set import ImageSet


def image_set(count=20, side=16, channels=3, mirrorable=True):
    randomness = np.random.default_rng(0)
    images = randomness.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    return ImageSet(images, np.arange(count, dtype=np.int64), tuple(map(str, range(count))), "", mirrorable)


def variants(image, reach, mirrored):
    """Every shift of an image, edges reflected, and of its mirror image, as bytes."""
    sides = (image, image[:, ::-1]) if mirrored else (image,)
    side, found = len(image), set()
    for one in sides:
        padded = np.pad(one, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
        for row in range(2 * reach + 1):
            for column in range(2 * reach + 1):
                found.add(padded[row : row + side, column : column + side].tobytes())
    return found


def as_bytes(image):
    return (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize(("augmentation", "mirrorable"), [("shift", True), ("shift-flip", True), ("shift-flip", False)])
def test_augmented_images_are_shifted_and_mirrored_where_they_may_be(augmentation, mirrorable):
    images = image_set(mirrorable=mirrorable)
    batches = Batches(images, batch_size=8, augmentation=augmentation)
    seen, mirrored = set(), 0
    for epoch in range(4):
        for pixels, labels in batches.shuffled(epoch):
            for image, label in zip(pixels, labels, strict=True):
                original = images.images[label]
                seen.add((int(label), as_bytes(image)))
                straight = as_bytes(image) in variants(original, 2, False)
                assert straight or as_bytes(image) in variants(original, 2, True)
                mirrored += not straight
    assert len(seen) > 60
    assert (mirrored > 20) == (augmentation == "shift-flip" and mirrorable)


def test_every_image_comes_once_an_epoch_in_another_order_and_can_be_taken_up_at_a_step():
    batches = Batches(image_set(), batch_size=8, augmentation="shift", seed=3)
    first, second = ([labels for _, labels in batches.shuffled(epoch)] for epoch in (0, 1))
    assert sorted(torch.cat(first).tolist()) == list(range(20))
    assert torch.cat(first).tolist() != torch.cat(second).tolist()
    later = list(batches.shuffled(0, first_step=1))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(list(batches.shuffled(0))[1:], later, strict=True))


def test_batches_made_ahead_are_those_made_one_by_one():
    one_by_one, ahead = (Batches(image_set(23), batch_size=4, augmentation="shift-flip", seed=1) for _ in range(2))
    # What a GPU does.
    ahead._ahead = 3
    for epoch, first in ((0, 0), (1, 0), (1, 4)):
        pairs = list(zip(one_by_one.shuffled(epoch, first), ahead.shuffled(epoch, first), strict=True))
        assert len(pairs) == one_by_one.steps - first
        for (images, labels), (other_images, other_labels) in pairs:
            assert torch.equal(images, other_images) and torch.equal(labels, other_labels)


@pytest.mark.parametrize(("count", "sizes"), [(17, [8, 9]), (18, [8, 8, 2]), (16, [8, 8]), (1, [1])])
def test_a_single_image_never_makes_a_batch_of_its_own(count, sizes):
    batches = Batches(image_set(count), batch_size=8)
    assert [len(labels) for _, labels in batches.shuffled(0)] == sizes
    assert batches.steps == len(sizes)


def test_normalisation():
    images = image_set()
    mean, std = channel_statistics(images, np.arange(20))
    direct = images.images.reshape(-1, 3) / 255
    assert mean == pytest.approx(direct.mean(0), abs=1e-4)
    assert std == pytest.approx(direct.std(0), abs=1e-4)
    pixels = torch.cat([pixels for pixels, _ in Batches(images, batch_size=8, mean=mean, std=std).in_order()])
    assert pixels.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-3)
    assert pixels.std((0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-3)
    assert pixels.is_contiguous(memory_format=torch.channels_last)


def test_an_image_is_mirrored_in_every_other_epoch():
    images = image_set(count=40)
    sides = []
    for epoch in range(4):
        batches = Batches(images, batch_size=8, augmentation="shift-flip", shift=0)
        straight = torch.zeros(40, dtype=torch.bool)
        for pixels, labels in batches.shuffled(epoch):
            straight[labels] = torch.tensor(
                [as_bytes(p) == images.images[n].tobytes() for p, n in zip(pixels, labels, strict=True)]
            )
        sides.append(straight)
    assert 8 < sides[0].sum() < 32
    assert torch.equal(sides[0], ~sides[1]) and torch.equal(sides[0], sides[2]) and torch.equal(sides[1], sides[3])


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_parts_of_several_processes_are_the_batches_of_one(ranks):
    options = {"batch_size": 8, "augmentation": "shift-flip"}
    alone = Batches(image_set(18), **options)
    parts = [Batches(image_set(18), rank=rank, ranks=ranks, **options) for rank in range(ranks)]
    for (pixels, labels), *shares in zip(alone.shuffled(1), *(part.shuffled(1) for part in parts), strict=True):
        assert torch.equal(torch.cat([share[0] for share in shares]), pixels)
        assert torch.equal(torch.cat([share[1] for share in shares]), labels)
    assert torch.equal(torch.cat([labels for part in parts for _, labels in part.in_order()]), torch.arange(18))
    assert [part.elsewhere(2) for part in parts] == ([(0, 1), (1, 0)] if ranks == 2 else [(0, 2), (0, 1), (1, 0)])


def test_a_square_of_each_image_is_blanked_in_training_only():
    images = ImageSet(np.full((40, 16, 16, 3), 200, np.uint8), np.zeros(40, np.int64), ("a",), "", False)
    batches = Batches(images, batch_size=20, augmentation="shift", shift=0.0, cutout=0.25)
    heights, whole = set(), 0
    for pixels, _labels in batches.shuffled(0):
        for image in pixels:
            blank = (image == 0).all(0)
            assert torch.equal(blank, (image == 0).any(0))
            rows, columns = blank.any(1).nonzero().flatten(), blank.any(0).nonzero().flatten()
            # A rectangle without holes, clipped only at the edges.
            assert blank.sum() == len(rows) * len(columns) and 2 <= len(rows) <= 4 and 2 <= len(columns) <= 4
            assert len(rows) == 4 or rows[0] == 0 or rows[-1] == 15
            heights.add(len(rows))
            whole += len(rows) == len(columns) == 4
    assert 4 in heights and whole > 20
    assert all((pixels != 0).all() for pixels, _labels in batches.in_order())
    plain = Batches(images, batch_size=20, augmentation="shift", shift=0.0)
    assert all((pixels != 0).all() for pixels, _labels in plain.shuffled(0))
    again = Batches(images, batch_size=20, augmentation="shift", shift=0.0, cutout=0.25)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches.shuffled(3), again.shuffled(3), strict=True))


def test_views_name_the_pixels_of_each_batch_whatever_is_blanked():
    options = {"batch_size": 8, "augmentation": "shift-flip", "shift": 0.25, "shift_step": 2, "seed": 3}
    batches, blanked = (Batches(image_set(), cutout=side, **options) for side in (0, 0.5))
    assert len(batches.grid) == 50
    for first_step in (0, 1):
        shown = list(batches.shuffled(1, first_step))
        for views in (batches.views(1, first_step), blanked.views(1, first_step)):
            for (images, labels), (indices, view) in zip(shown, views, strict=True):
                # Each image of this set is a class of its own.
                assert torch.equal(labels, indices)
                assert torch.equal(Normalization((0.0,), (1.0,))(batches.pixels(indices, view)), images)
    parts = [Batches(image_set(), rank=rank, ranks=2, **options).views(0) for rank in (0, 1)]
    for (indices, view), *shares in zip(batches.views(0), *parts, strict=True):
        assert torch.equal(indices, torch.cat([share[0] for share in shares]))
        assert torch.equal(view, torch.cat([share[1] for share in shares]))


def test_shifts_are_multiples_of_a_step():
    images = image_set(mirrorable=False)
    moved = Batches(images, batch_size=20, augmentation="shift", shift=0.25, shift_step=4)
    pixels, labels = next(moved.shuffled(0))
    allowed = {(row, column) for row in (-4, 0, 4) for column in (-4, 0, 4)}
    found = set()
    for image, label in zip(pixels, labels, strict=True):
        padded = np.pad(images.images[label], ((4, 4), (4, 4), (0, 0)), mode="reflect")
        found |= {(y, x) for y, x in allowed if padded[4 + y : 20 + y, 4 + x : 20 + x].tobytes() == as_bytes(image)}
    assert len(found) > 5
