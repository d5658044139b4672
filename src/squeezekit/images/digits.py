"""scikit-learn's handwritten digits: 1,797 grey images of 8 × 8, in every installation."""

from __future__ import annotations

import hashlib

import numpy as np

from squeezekit.images.image_set import ImageSet, ImageSource
from squeezekit.images.picture import read_picture
from squeezekit.images.splits import test_by_content


def load_digits(*, image_size: int = 32, channels: int = 1) -> ImageSource:
    """The digits enlarged to `image_size`, pixels 0…255; 15 % of each class for testing, by content."""
    from sklearn import datasets  # slow to import

    bunch = datasets.load_digits()
    small = (bunch.images * (255 / 16)).round().astype(np.uint8)
    pixels = np.stack([read_picture(digit, image_size, channels) for digit in small])
    labels = bunch.target.astype(np.int64)
    classes = tuple(str(name) for name in bunch.target_names)
    hashes = [hashlib.sha256(digit.tobytes()).hexdigest() for digit in small]
    fingerprint = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
    images = ImageSet(pixels, labels, classes, fingerprint, mirrorable=False)
    is_test = test_by_content(labels, hashes, classes, "digits")
    return ImageSource("digits", images.subset(np.flatnonzero(~is_test)), images.subset(np.flatnonzero(is_test)))
