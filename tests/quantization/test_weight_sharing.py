"""Weights that share the entries of a codebook."""

import copy

import pytest
import torch

from squeezekit.quantization.pruning import pruning_mask
from squeezekit.quantization.weight_sharing import Codebook, CodebookOptimizer
from tests.fixtures.random_networks import network, train


def test_k_means_comes_near_and_keeps_zeros():
    torch.manual_seed(0)
    weight = torch.randn(30, 20, 3, 3)
    weight[pruning_mask(weight, 0.5).logical_not()] = 0
    was = weight.clone()
    codebook = Codebook.of(weight, 16)
    assert len(weight.unique()) <= 16 and torch.equal(weight == 0, was == 0)
    found = was[was != 0]
    evenly = torch.linspace(float(found.min()), float(found.max()), 15)
    assert (weight - was).square().sum() < 0.5 * (found[:, None] - evenly).square().min(1).values.sum()
    for number in range(15):
        members = was[codebook.indices == number]
        assert not len(members) or members.mean() == pytest.approx(float(codebook.entries[number].detach()), abs=0.02)


def test_weights_that_share_an_entry_share_their_gradients():
    net = network()
    weights = [m.weight for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    codebooks = [Codebook.of(weight, 8) for weight in weights]
    chosen = CodebookOptimizer(torch.optim.SGD([c.entries for c in codebooks], 1.0), codebooks)
    before = [codebook.entries.detach().clone() for codebook in codebooks]
    train(net, chosen, 1)
    for weight, codebook, was in zip(weights, codebooks, before, strict=True):
        for number in range(7):
            moved = was[number] - codebook.entries[number].detach()
            assert moved == pytest.approx(float(weight.grad[codebook.indices == number].sum()), abs=1e-5)
        assert len(weight.detach().unique()) <= 8


def test_codebooks_go_on_as_if_nothing_had_happened():
    def optimizer(net):
        codebooks = [Codebook.of(m.weight, 8) for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
        biases = [p for p in net.parameters() if p.ndim == 1]
        return CodebookOptimizer(torch.optim.SGD([*(c.entries for c in codebooks), *biases], 0.05, 0.9), codebooks)

    net = network()
    chosen = optimizer(net)
    train(net, chosen, 4)
    state, weights = copy.deepcopy(chosen.state_dict()), copy.deepcopy(net.state_dict())
    twin = network()
    resumed = optimizer(twin)
    twin.load_state_dict(weights)
    resumed.load_state_dict(state)
    assert train(net, chosen, 3) == train(twin, resumed, 3)
