"""Class activation maps: their mean is the logit, whatever network they are of."""

import numpy as np
import pytest
import torch

from squeezekit.data.batches import Normalization
from squeezekit.inference.class_activation import ClassActivation
from squeezekit.inference.model import Model, load_model
from squeezekit.networks import network_config
from squeezekit.system.errors import SqueezekitError
from tests.fixtures.tiny import SMALL


def model_of(network, **fields):
    torch.manual_seed(0)
    config = network_config(network, classes=4, **fields)
    return Model(network, config.build().eval(), config, tuple("abcd"), None, None, lambda images: np.arange(0))


def check_means(model):
    config, count = model.config, 5
    shape = (count, config.image_size, config.image_size, config.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with torch.inference_mode():
        logits = model.network(Normalization(config.mean, config.std)(torch.from_numpy(images)))
    classes = np.arange(count) % logits.shape[1]
    maps = ClassActivation(model)(images, classes)
    assert maps.dtype == np.float32 and maps.shape[0] == count and min(maps.shape[1:]) > 1
    assert np.allclose(maps.mean((1, 2)), logits[torch.arange(count), torch.from_numpy(classes)].numpy(), atol=1e-4)
    return maps


def test_a_trained_squeezenet():
    check_means(load_model("digits-nano"))


@pytest.mark.parametrize("fields", [{}, {"head_relu": True}, {"mirrored": True}, {"batch_norm": True}])
def test_every_kind_of_last_layer_of_a_squeezenet(fields):
    check_means(model_of("squeezenet-cifar", **SMALL, **fields))


@pytest.mark.parametrize("network", ["resnet8", "mobilenetv2_050", "staged", "shufflenetv2_050", "xvel-tiniest"])
def test_a_linear_layer_of_means(network):
    check_means(model_of(network, image_size=16))


def test_images_are_looked_at_in_parts(monkeypatch):
    model = model_of("staged", image_size=16)
    whole = check_means(model)
    monkeypatch.setattr("squeezekit.inference.class_activation.images_at_once", lambda size: 2)
    assert np.allclose(check_means(model), whole, atol=1e-5)


@pytest.mark.parametrize("network", ["fast", "alexnet-cifar"])
def test_where_no_mean_makes_the_logits_there_are_none(network):
    with pytest.raises(SqueezekitError, match=f"{network}: has no class activation maps"):
        ClassActivation(model_of(network, image_size=32))
