"""A plan in integers answers nearly as the network in floats; what has no integer form is named."""

import numpy as np
import pytest
import torch
from torch import nn

from squeezekit.integer.quantizer import no_integer_form
from squeezekit.networks import network_config
from tests.fixtures.exported import NETWORKS, floats, pictures_like, reference, small


@pytest.mark.parametrize("name", NETWORKS)
def test_integers_say_what_floats_say(name):
    model, plan = small(name)
    pixels = pictures_like(model.config, 12)
    with torch.inference_mode():
        wanted = model.network(floats(model.config, pixels)).numpy()
    found = reference(plan, pixels) * 2.0**-plan.fraction
    wrong, spread = found - wanted, wanted - wanted.mean(0)
    assert np.square(wrong).mean() < 0.2**2 * np.square(spread).mean()


def test_the_first_layer_without_an_integer_form_is_named():
    assert no_integer_form(network_config("squeezenet-cifar").build()) is None
    own = nn.Sequential()
    own.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.GELU(), nn.Softmax())
    assert no_integer_form(own) == "layer 'features.3' (GELU) has no integer form; export to ONNX instead"
    for name in ("resnet8", "mobilenetv2_050", "alexnet-cifar"):
        problem = no_integer_form(network_config(name).build())
        assert problem.startswith("layer '") and problem.endswith("has no integer form; export to ONNX instead")
    assert no_integer_form(nn.Sequential(nn.Conv2d(3, 4, 3))).startswith("a Sequential has no integer form")
