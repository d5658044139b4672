"""Networks of shapes alone."""

import pytest

from squeezekit.networks.registry import network_config
from squeezekit.networks.without_memory import without_memory


@pytest.mark.parametrize("name", ["squeezenet-cifar", "nano", "resnet8", "mobilenetv2_050", "shufflenetv2_050", "xvel-tiniest"])
def test_shapes_are_those_of_the_network(name):
    with without_memory():
        empty = network_config(name).build().state_dict()
    whole = network_config(name).build().state_dict()
    assert {key: tensor.shape for key, tensor in empty.items()} == {key: tensor.shape for key, tensor in whole.items()}
    assert all(tensor.is_meta for tensor in empty.values()) and not any(tensor.is_meta for tensor in whole.values())
