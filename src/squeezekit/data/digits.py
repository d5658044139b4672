"""scikit-learn's handwritten digits: 1,797 grey images of 8 × 8 pixels, part of every installation."""

from __future__ import annotations

import hashlib

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
    enlarged = np.stack([read_image(digit, image_size, channels) for digit in small])
    for_test = chosen_for_test(labels.tolist(), hashes)

    def part(rows: NDArray[np.int64]) -> ImageSet:
        fingerprint = content_fingerprint(classes, labels[rows], [hashes[row] for row in rows])
        return ImageSet(enlarged[rows], labels[rows], classes, fingerprint, mirrorable=False)

    return ImageSource("digits", part(np.flatnonzero(~for_test)), part(np.flatnonzero(for_test)))


def _original() -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    from sklearn import datasets

    bundled = datasets.load_digits()
    pixels = np.rint(bundled.images * (255 / 16)).astype(np.uint8)
    return pixels, bundled.target.astype(np.int64), tuple(str(name) for name in bundled.target_names)
