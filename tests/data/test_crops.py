"""Crops: where they come from, how large they are, what happens to their colours."""

import numpy as np
import torch

from squeezekit.data.batches import Batches
from squeezekit.data.crops import NUMBERS, Crops, kept_side
from squeezekit.data.image_set import ImageSet


def slope(count=64, side=36):
    """Images whose red is a pixel's column and whose green its row: uint8 [n, side, side, 3]."""
    place = torch.arange(side, dtype=torch.uint8)
    pixels = torch.stack([place.expand(side, side), place[:, None].expand(side, side), torch.zeros(side, side)], 2)
    return pixels.to(torch.uint8).expand(count, side, side, 3)


def views(crops, images=None, mirrored=False):
    images = slope() if images is None else images
    drawn = crops.drawn(len(images), torch.Generator().manual_seed(0))
    return crops(images, drawn, torch.full((len(images),), mirrored))


def test_the_whole_of_an_image_of_the_same_size_is_the_image():
    crops = Crops(36, least=1.0, color=0.0)
    whole = torch.full((NUMBERS, 64), 0.5)
    assert torch.allclose(crops(slope(), whole, torch.zeros(64).bool()), slope().float(), atol=1e-3)
    mirrored = crops(slope(), whole, torch.ones(64).bool())
    assert torch.allclose(mirrored, slope().flip(2).float(), atol=1e-3)


def test_crops_are_rectangles_inside_of_the_image_with_at_least_their_share_of_its_area():
    seen = views(Crops(32, least=0.35, color=0.0))
    assert seen.shape == (64, 32, 32, 3)
    columns, rows = seen[:, 0, :, 0], seen[:, :, 0, 1]
    assert torch.allclose(seen[:, :1, :, 0].expand(-1, 32, -1), seen[..., 0], atol=1e-3)
    # Between the middles of the first and the last pixel lie 31 of 32 steps.
    widths, heights = ((line[:, -1] - line[:, 0]) * 32 / 31 for line in (columns, rows))
    areas = widths * heights / 36**2
    assert 0.34 < areas.min() < 0.45
    assert 0.9 < areas.max() <= 1.01
    assert (widths / heights).min() > 0.74
    assert 1.2 < (widths / heights).max() < 1.35
    # They lie anywhere.
    assert columns[:, 0].min() < 2
    assert columns[:, -1].max() > 33


def test_mirrored_crops_are_those_of_the_same_place_the_other_way_round():
    crops = Crops(32, least=0.5, color=0.0)
    assert torch.allclose(views(crops, mirrored=True), views(crops).flip(2), atol=1e-3)


def test_colours_move_by_no_more_than_their_share_and_stay_colours():
    grey = torch.full((64, 36, 36, 3), 100, dtype=torch.uint8)
    seen = views(Crops(32, least=0.5, color=0.2), grey)
    # Grey has neither contrast nor saturation.
    assert 80 <= seen.min() < 85
    assert 115 < seen.max() <= 120
    bright = views(Crops(32, least=0.5, color=0.2), torch.full((64, 36, 36, 1), 250, dtype=torch.uint8))
    assert bright.max() == 255
    red = torch.tensor([200, 50, 50], dtype=torch.uint8).expand(64, 36, 36, 3)
    moved = views(Crops(32, least=0.5, color=0.2), red)
    distances = (moved[..., 0] - moved[..., 1]).mean((1, 2))
    assert distances.min() < 130 < 170 < distances.max()


def test_batches_of_crops_are_of_the_crops_size_and_the_same_for_the_same_place():
    randomness = np.random.default_rng(0)
    pixels = randomness.integers(0, 256, (20, kept_side(32), kept_side(32), 3), dtype=np.uint8)
    images = ImageSet(pixels, np.arange(20, dtype=np.int64), tuple(map(str, range(20))), "", True)
    options = {"batch_size": 8, "augmentation": "crop-flip", "crops": Crops(32, 0.35, 0.2), "cutout": 0.25}
    first, again = (list(Batches(images, **options).shuffled(1)) for _ in range(2))
    assert [tuple(batch.shape) for batch, _ in first] == [(8, 3, 32, 32), (8, 3, 32, 32), (4, 3, 32, 32)]
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True))
    other = next(Batches(images, **options).shuffled(2))[0]
    assert not torch.equal(first[0][0], other)
    later = list(Batches(images, **options).shuffled(1, first_step=1))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first[1:], later, strict=True))
    # Several processes see what one would.
    shares = [next(Batches(images, rank=rank, ranks=2, **options).shuffled(1))[0] for rank in range(2)]
    assert torch.equal(torch.cat(shares), first[0][0])
