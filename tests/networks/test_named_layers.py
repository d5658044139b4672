"""Layers and the normalization behind them, found by tracing."""

import pytest
import torch
from torch import nn

from squeezekit.acceleration.accelerate import accelerate
from squeezekit.acceleration.folding import folded
from squeezekit.networks import network_config
from squeezekit.networks.named_layers import named_layers
from squeezekit.system.errors import SqueezekitError

SLIM = {"base_e": 8, "incr_e": 8, "stem_width": 8, "depth": 3, "batch_norm": True}

# Of each batch alone, and with a gain below zero.
BATCH_ALONE, NEGATIVE = nn.BatchNorm2d(4, track_running_stats=False), nn.BatchNorm2d(4)
NEGATIVE.weight.data[0] = -1


def found(network):
    return [(layer.name, layer.norm, layer.part) for layer in named_layers(network)]


def test_branches_share_the_norm_behind_them():
    network = network_config("squeezenet-cifar", bypass="complex", **SLIM).build()
    layers = {layer.name: layer for layer in named_layers(network)}
    fire = network.get_submodule("features.5")
    assert [*layers][:2] == ["features.0", "features.3.squeeze"]
    assert layers["features.0"].norm is network.features.norm
    assert layers["features.5.expand1x1"].norm is layers["features.5.expand3x3"].norm is fire.expand_norm
    assert [layers[f"features.5.{name}"].part for name in ("expand1x1", "expand3x3")] == [slice(0, 8), slice(8, 16)]
    # Named as where nothing is normalized.
    assert layers["features.5.bypass"].norm is fire.bypass[1] and layers["classifier.1"].norm is None


@pytest.mark.parametrize(
    ("norm", "folds"),
    [(nn.BatchNorm2d(4), True), (nn.BatchNorm2d(4, affine=False), True), (BATCH_ALONE, False), (NEGATIVE, False)],
)
def test_a_norm_behind_a_pooling_belongs_to_the_layer_where_their_order_does_not_matter(norm, folds):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), norm)
    assert found(network) == [("0", norm if folds else None, slice(None))]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fields", [{}, {"bypass": "simple"}])
def test_mirrored_and_accelerated_networks_have_the_same(fields, training):
    torch.manual_seed(0)
    plain = network_config("squeezenet-cifar", **SLIM, **fields).build().train(training)
    mirrored = network_config("squeezenet-cifar", mirrored=True, **SLIM, **fields).build().train(training)
    names = [(name, str(part)) for name, _, part in found(plain)]
    for network in (mirrored, accelerate(plain, kernels=True)):
        assert [(name, str(part)) for name, _, part in found(network)] == names
        assert sum(norm is not None for _, norm, _ in found(network)) == len(names) - 1


class Odd(nn.Module):
    """Everything that cannot be folded, beside what can."""

    def __init__(self):
        super().__init__()
        self.seen_twice, self.norm_of_seen = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.called_twice, self.norm_of_called = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.joined, self.norm_of_joined = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(8)
        self.biased, self.plain_norm = nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6, affine=False)
        self.unused = nn.Conv2d(1, 1, 1)
        self.hidden, self.norm1d = nn.Linear(6, 7, bias=False), nn.BatchNorm1d(7)
        self.last = nn.Linear(7, 2)

    def forward(self, x):
        first = self.seen_twice(x)
        x = self.norm_of_seen(first) + first
        x = self.norm_of_called(self.called_twice(self.called_twice(x)))
        x = self.norm_of_joined(torch.cat([self.joined(x), x], dim=1))
        x = self.plain_norm(self.biased(x)).relu().mean((2, 3))
        return self.last(self.norm1d(self.hidden(x)).relu())


def lively(network):
    torch.manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    module.weight.uniform_(-1.5, 1.5)
                    module.bias.normal_()
    return network.eval()


def test_what_others_see_as_well_is_not_folded():
    network = lively(Odd())
    norms = {layer.name: layer.norm for layer in named_layers(network)}
    assert norms == {
        "seen_twice": None,
        "called_twice": None,
        "joined": None,
        "biased": network.plain_norm,
        # Behind a linear layer the normalized dimension need not be that of its outputs.
        "hidden": None,
        "last": None,
    }
    plain, images = folded(network), torch.randn(4, 3, 5, 5)
    assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in plain.modules())
    assert torch.allclose(plain(images), network(images), atol=1e-5)
    assert "norm_of_joined.weight" in plain.state_dict() and "plain_norm.weight" not in plain.state_dict()


def test_a_network_that_looks_at_values_is_refused():
    class Looking(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(x) if x.sum() > 0 else x

    with pytest.raises(SqueezekitError, match="Looking: its forward cannot be traced"):
        named_layers(Looking())


class Tokens(nn.Module):
    """Normalizes the second dimension of [n, t, c], which is not that of the linear layer's outputs."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(5, 5), nn.BatchNorm1d(5)

    def forward(self, x):
        return self.norm(input=self.linear(x))


def test_a_norm_behind_a_linear_layer_stays_right():
    network = lively(Tokens())
    images = torch.randn(2, 5, 5)
    assert torch.allclose(folded(network)(images), network(images), atol=1e-5)


class Spelled(nn.Module):
    """The same calls, with the names of their arguments."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.norm = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(6)

    def forward(self, x):
        return self.norm(input=torch.cat(tensors=[self.left(x), self.right(x)], dim=1)).mean((2, 3))


def test_arguments_may_be_named():
    network = lively(Spelled())
    assert [layer.norm for layer in named_layers(network)] == [network.norm, network.norm]
    images = torch.randn(2, 3, 4, 4)
    assert torch.allclose(folded(network)(images), network(images), atol=1e-5)
