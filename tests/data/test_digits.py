"""The bundled digits."""

import numpy as np
import pytest

from squeezekit.data.digits import load_digits
from squeezekit.system.errors import SqueezekitError


def test_all_digits_enlarged_and_split():
    source = load_digits()
    assert source.name == "digits"
    assert source.training.images.shape == (1528, 32, 32, 1)
    assert source.test.images.shape == (269, 32, 32, 1)
    assert source.training.classes == tuple("0123456789")
    assert not source.training.mirrorable
    assert source.training.images.max() == 255
    assert not {image.tobytes() for image in source.training.images} & {image.tobytes() for image in source.test.images}
    share = np.bincount(source.test.labels) / (np.bincount(source.training.labels) + np.bincount(source.test.labels))
    assert (abs(share - 0.15) < 0.005).all()


def test_the_original_pixels_are_recovered_at_their_own_size():
    from sklearn import datasets

    source = load_digits(image_size=8)
    ours = {
        (image.tobytes(), label)
        for part in (source.training, source.test)
        for image, label in zip(part.images, part.labels, strict=True)
    }
    bundled = datasets.load_digits()
    scaled = np.rint(bundled.images * 255 / 16).astype(np.uint8)
    assert ours == {(image.tobytes(), label) for image, label in zip(scaled, bundled.target, strict=True)}


def test_it_is_the_same_every_time_and_at_every_size():
    first, second = load_digits(), load_digits(image_size=8, channels=3)
    assert first.training.fingerprint == second.training.fingerprint
    assert first.test.fingerprint == second.test.fingerprint
    assert second.training.images.shape == (1528, 8, 8, 3)
    assert (first.training.images == load_digits().training.images).all()


def test_impossible_shapes():
    with pytest.raises(SqueezekitError, match="2 channels"):
        load_digits(channels=2)
