"""Features of a trained network."""

import numpy as np
import pytest
import torch

from squeezekit.data.batches import Normalization
from squeezekit.inference.model import Model, load_model
from squeezekit.inference.pooled_features import PooledFeatures
from squeezekit.networks import network_config


@pytest.fixture(scope="module")
def features():
    return PooledFeatures(load_model("digits-nano"))


def test_a_vector_for_each_image_of_any_size(features):
    random = np.random.default_rng(0)
    for size in (16, 32, 48):
        images = random.integers(0, 256, (40, size, size, 1), dtype=np.uint8)
        found = features(images)
        assert found.dtype == np.float32 and found.shape == (40, features(images[:1]).shape[1])
        assert np.allclose(features(images[35:]), found[35:], atol=1e-5)


def test_feature_maps_are_pooled_to_mean_and_maximum(features):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), dtype=np.uint8)
    model = load_model("digits-nano")
    with torch.inference_mode():
        maps = model.network.features(Normalization(model.config.mean, model.config.std)(torch.from_numpy(images)))
    assert np.allclose(features(images), torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1), atol=1e-5)


def test_what_is_pooled_already_is_taken_as_it_is():
    network = network_config("resnet8").build()
    model = Model("resnet8", network, network.config, tuple("abcdefghij"), None, None, lambda images: np.arange(0))
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    assert PooledFeatures(model)(images).shape == (3, network.classifier.in_features)


def test_no_hook_stays(features):
    features(np.zeros((1, 16, 16, 1), np.uint8))
    assert not any(module._forward_pre_hooks for module in features._network.modules())
