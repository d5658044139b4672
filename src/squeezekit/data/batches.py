"""Batches: uint8 images in memory become normalized float batches, shifted and mirrored in one gather."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezekit.data.crops import Crops
from squeezekit.data.image_set import ImageSet
from squeezekit.data.views import ViewGrid
from squeezekit.system.seeds import generator

Augmentation = Literal["none", "shift", "shift-flip", "crop", "crop-flip"]
Batch = tuple[Tensor, Tensor]

SHUFFLE, AUGMENT = 0, 1
# 2 and 3 are dropout and weights, in training.
MIRROR = 4
STATISTICS_BYTES = 2**22
# Float images of coming batches that a GPU makes at once.
BYTES_AHEAD = 2**28


class Batches:
    """A part of an image set as batches of (float [n, c, h, w] channels-last, int64 labels [n]) on `device`.

    Pixels are scaled to 0…1, then `mean` is subtracted and `std` divided, for all or each channel. `shift` is the
    furthest that augmentation moves an image, `cutout` the side of the square that it blanks, both as a share of the
    image's side; shifts are multiples of `shift_step` pixels. With `crops` shuffled batches show crops of the images, of the
    crops' size, in place of shifts. Sets that are memory-mapped stay so on a CPU; on another device the whole set is copied
    there once, and many batches are made at once. Of several processes, each gets its part of every batch (`rank` of
    `ranks`): the same images, augmented alike, as one process would get.
    """

    def __init__(
        self,
        images: ImageSet,
        indices: NDArray[np.int64] | None = None,
        *,
        batch_size: int,
        mean: tuple[float, ...] = (0.0,),
        std: tuple[float, ...] = (1.0,),
        augmentation: Augmentation = "none",
        shift: float = 0.125,
        shift_step: int = 1,
        cutout: float = 0.0,
        crops: Crops | None = None,
        seed: int = 0,
        device: torch.device | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        device = device or torch.device("cpu")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self._images = torch.from_numpy(images.images).to(device)
        self._labels = torch.from_numpy(np.array(images.labels)).to(device)
        self.indices = torch.from_numpy(np.arange(len(images)) if indices is None else np.array(indices))
        self.batch_size, self.rank, self.ranks = batch_size, rank, ranks
        self._own_sizes = self.sizes = self._sizes()
        self.crops, self.side = crops, crops.size if crops else images.image_size
        mirror = augmentation.endswith("-flip") and images.mirrorable
        shifted = round(shift * self.side) if augmentation.startswith("shift") else 0
        self.grid = ViewGrid(shifted, shift_step, mirror)
        self.blanked = 0 if augmentation == "none" else round(cutout * self.side)
        image_bytes = 4 * images.image_size**2 * images.channels
        self._ahead = 1 if device.type == "cpu" else max(BYTES_AHEAD // (batch_size * image_bytes), 1)
        self._seed = seed
        self._mirrored_first = torch.rand(len(images), generator=generator(seed, MIRROR)) < 0.5
        self._normalize = Normalization(mean, std, device)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.indices)

    @property
    def steps(self) -> int:
        """Number of batches of an epoch. The last may be short, but a single image goes to the batch before it."""
        return len(self.sizes)

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self._images.device

    def _sizes(self) -> list[int]:
        sizes = [min(self.batch_size, len(self) - start) for start in range(0, len(self), self.batch_size)]
        if len(sizes) > 1 and sizes[-1] == 1 < self.batch_size:
            # Batch normalization needs more than one value.
            sizes[-2:] = [sizes[-2] + 1]
        return sizes

    def in_order(self) -> Iterator[Batch]:
        """Every image of this process's part once, in order, as it is."""
        for indices in torch.split(self.indices[self._part(len(self))], self.batch_size):
            here = self._moved(indices)
            yield self._normalize(self._images[here]), self._labels[here]

    def shuffled(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """This process's part of each batch, from batch `first_step` on, shuffled and augmented for `epoch`.

        An epoch has every image once. A process's part of a last batch that is smaller than their number may be empty.
        """
        parts = self._shuffled_parts(epoch)
        for start in range(first_step, self.steps, self._ahead):
            drawn = [self._drawn(parts[step], epoch, step) for step in range(start, min(start + self._ahead, self.steps))]
            indices, moves, middles = (torch.cat(part, -1) for part in zip(*drawn, strict=True))
            here = self._moved(indices)
            images, labels = self._augmented(indices, here, self._moved(moves), epoch), self._labels[here]
            if self.blanked:
                images = _with_holes(images, self._moved(middles), self.blanked)
            sizes = [len(part) for part, _moves, _middles in drawn]
            yield from zip(torch.split(images, sizes), torch.split(labels, sizes), strict=True)

    def views(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """What `shuffled` shows, batch by batch: indices of images in the set [n], and which view of `grid` each is [n]."""
        for step, part in enumerate(self._shuffled_parts(epoch)[first_step:], first_step):
            indices, shifts, _middles = self._drawn(part, epoch, step)
            yield indices, self.grid.numbers(shifts, self._mirrored(indices, epoch))

    def pixels(self, indices: Tensor, views: Tensor) -> Tensor:
        """Those views [n] of those images of the set [n], before anything is blanked: uint8 [n, h, w, c]."""
        return self._viewed(*map(self._moved, (indices, self.grid.shifts(views), self.grid.mirrored(views))))

    def elsewhere(self, step: int) -> tuple[int, int]:
        """How many images of that batch other processes have, before and after this one's part."""
        part = self._part(self.sizes[step])
        return part.start, self.sizes[step] - part.stop

    def shares(self) -> list[int]:
        """How many images each process gets from `in_order`."""
        borders = [rank * len(self) // self.ranks for rank in range(self.ranks + 1)]
        return [end - begin for begin, end in pairwise(borders)]

    def _shuffled_parts(self, epoch: int) -> tuple[Tensor, ...]:
        order = self.indices[torch.randperm(len(self), generator=generator(self._seed, SHUFFLE, epoch))]
        return torch.split(order, self._own_sizes)

    def _part(self, count: int) -> slice:
        return slice(self.rank * count // self.ranks, (self.rank + 1) * count // self.ranks)

    def _moved(self, index: Tensor) -> Tensor:
        """To where the images are, without waiting for a GPU."""
        device = self._images.device
        return index.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else index

    def _drawn(self, indices: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """This process's images [n] of a batch, how they are moved, and the middles of their holes [2, n].

        Moved: pixels that rows and columns are shifted by [2, n], or the random numbers of crops [NUMBERS, n].
        """
        random, part, shape = generator(self._seed, AUGMENT, epoch, step), self._part(len(indices)), (2, len(indices))
        if self.crops:
            moves = self.crops.drawn(len(indices), random)
        else:
            moves = self.grid.step * torch.randint(-self.grid.furthest, self.grid.furthest + 1, shape, generator=random)
        middles = torch.randint(0, self.side, shape, generator=random)
        return indices[part], moves[:, part], middles[:, part]

    def _augmented(self, indices: Tensor, here: Tensor, moves: Tensor, epoch: int) -> Tensor:
        """Crop images, or shift them with edges reflected, and mirror half of them."""
        if self.crops:
            return self._normalize(self.crops(self._images[here], moves, self._moved(self._mirrored(indices, epoch))))
        if len(self.grid) == 1:
            return self._normalize(self._images[here])
        return self._normalize(self._viewed(here, moves, self._moved(self._mirrored(indices, epoch))))

    def _mirrored(self, indices: Tensor, epoch: int) -> Tensor:
        """Each image is mirrored in every other epoch, so that two epochs show both of its sides: bool [n].

        Jordan, 2024, arXiv 2404.00498, section 3.6.
        """
        return self._mirrored_first[indices] ^ (epoch % 2 == 1) if self.grid.mirror else torch.zeros_like(indices).bool()

    def _viewed(self, here: Tensor, shifts: Tensor, mirrored: Tensor) -> Tensor:
        """uint8 [n, h, w, c]. Where each pixel comes from is computed first: shift and mirror cost one gather from the set."""
        height, width = self._images.shape[1:3]
        place = torch.arange(max(height, width), device=here.device)
        rows = _reflected(place[:height] + shifts[0, :, None], height)
        columns = _reflected(place[:width] + shifts[1, :, None], width)
        columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
        source = (here[:, None, None] * height + rows[:, :, None]) * width + columns[:, None, :]
        return self._images.view(-1, self._images.shape[3])[source]


class Normalization:
    """Pixels scaled to 0…1, `mean` subtracted and `std` divided: uint8 [n, h, w, c] -> float [n, c, h, w]."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device | None = None) -> None:
        self._scale = 1 / (255 * torch.tensor(std, device=device))
        self._offset = -torch.tensor(mean, device=device) / torch.tensor(std, device=device)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Channels-last: [n, h, w, c] in memory is that, without a copy."""
        return (pixels * self._scale + self._offset).permute(0, 3, 1, 2)


def channel_statistics(images: ImageSet, indices: NDArray[np.int64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over the chosen images, pixels scaled to 0…1."""
    total = np.zeros(images.channels, np.float64)
    squares = np.zeros(images.channels, np.float64)
    bytes_each = images.image_size**2 * images.channels
    for chunk in np.array_split(indices, math.ceil(len(indices) * bytes_each / STATISTICS_BYTES)):
        pixels = images.images[chunk].reshape(-1, images.channels) / 255
        total += pixels.sum(0)
        squares += (pixels**2).sum(0)
    count = len(indices) * images.image_size**2
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
    return tuple(round(float(m), 4) for m in mean), tuple(round(float(s), 4) for s in std)


def _with_holes(images: Tensor, middles: Tensor, side: int) -> Tensor:
    """Images [n, c, h, w] with a square of zeros each, clipped at the edges (DeVries and Taylor, 2017, arXiv 1708.04552)."""
    inside = []
    for length, middle in zip(images.shape[2:], middles, strict=True):
        place = torch.arange(length, device=images.device) - middle[:, None] + side // 2
        inside.append((place >= 0) & (place < side))
    rows, columns = inside
    return images.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def _reflected(index: Tensor, size: int) -> Tensor:
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)
