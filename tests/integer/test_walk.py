"""What has no integer form is named."""

from torch import nn

from squeezekit.integer.walk import no_integer_form
from squeezekit.networks import network_config


def test_the_first_layer_without_an_integer_form_is_named():
    assert no_integer_form(network_config("squeezenet-cifar").build()) is None
    own = nn.Sequential()
    own.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.GELU(), nn.Softmax())
    assert no_integer_form(own) == "layer 'features.3' (GELU) has no integer form"
    for name in ("resnet8", "mobilenetv2_050", "shufflenetv2_050", "alexnet-cifar"):
        problem = no_integer_form(network_config(name).build())
        assert problem.startswith("layer '") and problem.endswith("has no integer form")
    assert no_integer_form(nn.Sequential(nn.Conv2d(3, 4, 3))).startswith("a Sequential has no integer form")
