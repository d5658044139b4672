"""scikit-learn's handwritten digits: 1,797 grey images of 8 × 8 pixels, part of every installation."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.image_file import check_shape, read_image
from squeezekit.data.image_set import ImageSet, ImageSource, content_fingerprint
from squeezekit.data.splits import chosen_for_test


def load_digits(*, image_size: int = 32, channels: int = 1) -> ImageSource:
    """The digits, their 0…16 brought to 0…255 and enlarged to `image_size`; 15 % of each class for the test by content.

    They are not mirrorable. Raises SqueezekitError for an impossible size or number of channels.
    """
    check_shape(image_size, channels)
    small, labels, classes = _original()
    hashes = [hashlib.sha256(digit.tobytes()).digest() for digit in small]
    enlarged = _enlarged(image_size, channels)
    for_test = chosen_for_test(labels.tolist(), hashes)

    def part(rows: NDArray[np.int64]) -> ImageSet:
        fingerprint = content_fingerprint(classes, labels[rows], [hashes[row] for row in rows])
        return ImageSet(enlarged[rows], labels[rows], classes, fingerprint, mirrorable=False)

    return ImageSource("digits", part(np.flatnonzero(~for_test)), part(np.flatnonzero(for_test)))


# Both are remembered: a search or a compression asks for the same digits many times.
@lru_cache(maxsize=4)
def _enlarged(image_size: int, channels: int) -> NDArray[np.uint8]:
    return np.stack([read_image(digit, image_size, channels) for digit in _original()[0]])


@lru_cache(maxsize=1)
def _original() -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    table = _table()
    pixels = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return pixels, table[:, -1].astype(np.int64), tuple("0123456789")


def _table() -> NDArray[np.float64]:
    """One row for each digit: its 64 pixels and its label."""
    scikit_learn = find_spec("sklearn")
    folders = scikit_learn.submodule_search_locations if scikit_learn else None
    for file in (Path(folder, "datasets", "data", "digits.csv.gz") for folder in folders or ()):
        if file.exists():
            return np.loadtxt(file, delimiter=",")
    # Last, since importing scikit-learn takes a second.
    from sklearn import datasets

    bundled = datasets.load_digits()
    return np.column_stack([bundled.data, bundled.target])
