"""Features of a trained network."""

import numpy as np
import pytest

from squeezekit.inference.model import load_model
from squeezekit.inference.pooled_features import PooledFeatures


@pytest.fixture(scope="module")
def features():
    return PooledFeatures(load_model("digits-nano"))


def test_a_vector_for_each_image_of_any_size(features):
    random = np.random.default_rng(0)
    for size in (16, 32, 48):
        images = random.integers(0, 256, (40, size, size, 1), dtype=np.uint8)
        found = features(images)
        assert found.dtype == np.float32 and found.shape == (40, features(images[:1]).shape[1]) and (found >= 0).all()
        assert np.allclose(features(images[35:]), found[35:], atol=1e-5)
    assert features(images[:0]).shape == (0, found.shape[1])


def test_no_hook_stays(features):
    features(np.zeros((1, 16, 16, 1), np.uint8))
    assert not any(layer._forward_hooks for layer in features._layers)
