"""Magnitude pruning."""

import pytest
import torch

from squeezekit.quantization.pruning import PruningOptimizer, pruning_mask
from tests.fixtures.random_networks import network, train


@pytest.mark.parametrize("density", [1.0, 0.5, 0.1, 1e-9])
def test_the_largest_weights_are_kept(density):
    weight = torch.randn(20, 10, 3, 3)
    mask = pruning_mask(weight, density)
    assert mask.sum() == max(round(density * weight.numel()), 1)
    assert density == 1.0 or weight[mask].abs().min() > weight[~mask].abs().max()


def test_pruned_weights_stay_zero_and_the_rest_learns():
    net = network()
    weights = [m.weight for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    masks = [pruning_mask(weight, 0.3) for weight in weights]
    chosen = PruningOptimizer(torch.optim.SGD(net.parameters(), 0.05, 0.9), weights, masks)
    before = [weight.detach().clone() for weight in weights]
    train(net, chosen, 3)
    for weight, mask, was in zip(weights, masks, before, strict=True):
        assert not weight[~mask].any() and not torch.equal(weight, was)
