"""Batches of images with labels, each with images beside them that have none."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from squeezekit.data.batches import Batch, Batches
from squeezekit.data.image_set import ImageSet


class MixedBatches(Batches):
    """What `Batches` shows, and behind it in every shuffled batch a batch of `others`.

    `batch_size` and `sizes` are those of both together. An epoch has every image of the first kind once; the others go on from
    batch to batch and from epoch to epoch, so that each of them is seen before one is seen again, but for less than a batch.
    """

    def __init__(
        self, others: Batches, images: ImageSet, indices: NDArray[np.int64] | None = None, *, batch_size: int, **options: Any
    ) -> None:
        self.others = others
        super().__init__(images, indices, batch_size=batch_size - others.batch_size, **options)
        self.sizes = [size + others.batch_size for size in self.sizes]

    def shuffled(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """As `Batches.shuffled`, with the others behind."""
        beside = self._beside(epoch * self.steps + first_step)
        for (images, labels), (more, without) in zip(super().shuffled(epoch, first_step), beside, strict=False):
            # Channels-last, as both are.
            yield torch.cat([images, more]), torch.cat([labels, without])

    def _beside(self, done: int) -> Iterator[Batch]:
        """Batches of the others without end, after so many; none is short."""
        whole = len(self.others) // self.others.batch_size
        while True:
            epoch, step = divmod(done, whole)
            yield from islice(self.others.shuffled(epoch, step), whole - step)
            done += whole - step


def unlabelled_in(batch_size: int, labelled: int, unlabelled: int) -> int:
    """How many images of a batch have no label where so many of both kinds are there: in proportion, at most half, at least one.

    0 where a batch has one image.
    """
    share = min(unlabelled / (labelled + unlabelled), 0.5)
    return min(max(round(batch_size * share), 1), batch_size - 1, unlabelled)
