"""Who trains, who validates, who tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squeezekit.errors import SqueezekitError

TEST_SHARE = 0.15


@dataclass(frozen=True)
class Split:
    """Rising indices into the images that are not for testing."""

    training: NDArray[np.int64]
    validation: NDArray[np.int64]


def split_training(
    labels: NDArray[np.int64],
    *,
    classes: Sequence[str],
    seed: int,
    validation_share: float = 0.1,
    limit: int | None = None,
) -> Split:
    """Take a stratified `validation_share` of the images for validation (R3); the same for the same seed.

    `limit` first keeps that many images, stratified. Raises SqueezekitError when a class has fewer than two images,
    or when either part cannot hold every class.
    """
    kept = np.arange(len(labels))
    if limit is not None and limit < len(labels):
        kept, _ = _stratified(labels, kept, len(labels) - limit, classes, seed)
    validation_size = math.floor(len(kept) * validation_share + 0.5)
    training, validation = _stratified(labels, kept, validation_size, classes, seed)
    return Split(training, validation)


def test_by_content(
    labels: NDArray[np.int64], hashes: Sequence[str], classes: Sequence[str], where: str
) -> NDArray[np.bool_]:
    """Which images are for testing: of each class the 15 % (at least one) whose content has the smallest hash.

    The choice depends on nothing else, so no seed ever moves a test image into training; equal files stay together.
    """
    digests = np.array(hashes)
    is_test = np.zeros(len(labels), bool)
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 3:
            raise SqueezekitError(
                f"{where}: class '{name}' holds {len(members)} images; training, validation and test need at least 3"
            )
        size = max(math.floor(len(members) * TEST_SHARE + 0.5), 1)
        is_test[members] = digests[members] <= np.sort(digests[members])[size - 1]
    return is_test


def _stratified(
    labels: NDArray[np.int64], indices: NDArray[np.int64], size: int, classes: Sequence[str], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split `indices` into a larger part and one of `size`, both with the classes in the same shares."""
    from sklearn.model_selection import train_test_split  # slow to import

    counts = np.bincount(labels[indices], minlength=len(classes))
    if counts.min() < 2:
        name, count = classes[int(counts.argmin())], int(counts.min())
        raise SqueezekitError(f"class '{name}' has {count} images for training and validation; it needs at least 2")
    if min(size, len(indices) - size) < len(classes):
        raise SqueezekitError(
            f"{len(indices)} images of {len(classes)} classes cannot be split into {len(indices) - size} and {size}: "
            "each part needs an image of every class; add images, or change --limit or --validation-share"
        )
    larger, smaller = train_test_split(indices, test_size=size, random_state=seed, stratify=labels[indices])
    return np.sort(larger), np.sort(smaller)
