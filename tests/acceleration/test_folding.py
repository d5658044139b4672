"""Batch normalization folded into convolutions, and made anew from images."""

import copy

import pytest
import torch

from squeezekit.acceleration.folding import build_folded, folded, unfolded
from squeezekit.networks import network_config
from squeezekit.networks.dropout import Dropout
from squeezekit.networks.named_layers import named_layers

FAMILY = {"batch_norm": True, "dropout": 0.0, "base_e": 32, "incr_e": 16, "image_size": 16}
OTHERS = ("resnet8", "resnet20", "mobilenetv2_050", "shufflenetv2_050", "xvel-tiniest")


@pytest.fixture(scope="module", params=["none", "simple", "complex", *OTHERS])
def lively(request):
    """Networks with statistics of images."""
    torch.manual_seed(0)
    if request.param in OTHERS:
        network = network_config(request.param).build()
    else:
        network = network_config("squeezenet-late", bypass=request.param, **FAMILY).build()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5 if request.param in OTHERS else -1.5, 1.5)
                module.bias.normal_()
        for _ in range(5):
            network.train()(torch.randn(16, 3, 16, 16))
    return network.eval()


@pytest.fixture
def network(lively):
    return copy.deepcopy(lively)


def test_folded_and_unfolded_answer_alike(network):
    images = torch.randn(8, 3, 16, 16)
    plain = folded(network)
    again = unfolded(plain, torch.randn(32, 3, 16, 16))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in plain.modules())
    assert [*again.state_dict()] == [*network.state_dict()]
    assert (network(images).std(0) > 0).all()
    for other in (plain, again):
        assert torch.allclose(other(images), network(images), atol=1e-4 * float(network(images).detach().abs().max()))


def test_a_file_finds_the_network_that_was_folded(network):
    plain, built = folded(network), build_folded(network.config)
    shapes = [{name: tensor.shape for name, tensor in each.state_dict().items()} for each in (plain, built)]
    assert shapes[0] == shapes[1] and [*shapes[0]] == [*shapes[1]]
    built.load_state_dict(plain.state_dict())
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(built.eval()(images), plain(images))


def test_named_layers_are_all_the_filters(network):
    filters = {module for module in network.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)}
    plain = dict(folded(network).named_modules())
    assert {layer.module for layer in named_layers(network)} == filters
    assert all(plain[layer.name].weight.shape == layer.module.weight.shape for layer in named_layers(network))


def test_named_layers_come_in_the_order_in_which_they_compute(network):
    called, images = [], torch.randn(2, 3, 16, 16)
    for layer in named_layers(network):
        layer.module.register_forward_hook(lambda module, *_: called.append(module))
    network(images)
    named = [layer.module for layer in named_layers(network)]
    shortcut = [getattr(block, "shortcut", None) for block in getattr(network, "blocks", [])]
    bypass = [module for name, module in network.named_modules() if "bypass" in name]
    # Branches that stand beside each other may come in any order.
    beside = {id(each) for each in (*shortcut, *bypass)}
    assert [m for m in called if id(m) not in beside] == [m for m in named if id(m) not in beside]


def test_filters_have_the_length_that_muon_gives_them(network):
    again = unfolded(folded(network), torch.randn(32, 3, 16, 16))
    for module in again.modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is None:
            assert float(module.weight.detach().norm()) == pytest.approx(len(module.weight) ** 0.5, rel=1e-4)


def test_statistics_are_those_of_the_images(network):
    images = torch.randn(32, 3, 16, 16)
    again = unfolded(folded(network), images)
    in_use = again(images)
    again.train()
    for module in again.modules():
        if isinstance(module, Dropout):
            module.eval()
    with torch.no_grad():
        in_training = again(images)
    # What the images themselves give as statistics is what is stored.
    assert torch.allclose(in_training, in_use, atol=1e-3 * float(in_use.detach().abs().max()))
