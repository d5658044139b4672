"""Batch normalization and biases after weights have changed."""

import torch

from squeezekit.quantization.bias_correction import correct_biases, reestimate_batch_norm
from squeezekit.quantization.weight_layers import weight_layers
from tests.fixtures.random_networks import batches, network


def test_statistics_of_batch_normalization_are_reestimated():
    net, seen = network(batch_norm=True), [*batches(), *batches(1, 3)]
    reestimate_batch_norm(net, seen)
    with torch.no_grad():
        stem = torch.cat([net.features[0](images) for images, _ in seen])
    assert torch.allclose(net.features.norm.running_mean, stem.mean((0, 2, 3)), atol=1e-3)
    assert not net.training and net.features.norm.momentum == 0.1


def test_biases_are_corrected_to_the_target_means():
    net, seen = network(), batches()
    layers = weight_layers(net)
    target_means = {layer: torch.randn(layer.out_channels) for layer in layers}
    correct_biases(net, target_means, seen)
    found = {}
    for layer in layers:
        layer.register_forward_hook(lambda module, _, result: found.update({module: result.mean((0, 2, 3))}))
    with torch.no_grad():
        net(torch.cat([images for images, _ in seen]))
    for layer in layers:
        assert torch.allclose(found[layer], target_means[layer], atol=1e-3)
