"""The Fisher information of layers."""

import pytest
import torch
import torch.nn.functional as F

from squeezekit.quantization import fisher
from squeezekit.quantization.fisher import LayerStatistics, fisher_information
from squeezekit.quantization.post_training import quantize_weights
from squeezekit.quantization.weight_layers import weight_layers
from tests.fixtures.random_networks import batches, network


def test_fisher_information_of_the_first_layer_and_of_the_last():
    net, seen = network(), batches()
    found = fisher_information(net, weight_layers(net), seen)
    images = torch.cat([images for images, _ in seen])
    head = net.classifier[1]
    pooled = net.features(images).mean((2, 3)).detach()
    covariance = torch.cov(pooled.T, correction=0)
    # 48 images, and a filter of 24 weights: what goes together may do so by chance.
    expected = (2 * covariance + covariance.diagonal().diag()) / 3
    assert torch.allclose(found[-1].input_covariance, expected, atol=1e-5)
    assert torch.allclose(found[-1].output_means, head(pooled[:, :, None, None]).detach().mean((0, 2, 3)), atol=1e-5)
    # At labels drawn from the answers the expected squared gradient at the logits is p · (1 - p).
    shares = head(pooled[:, :, None, None]).detach().flatten(1).softmax(1)
    assert float(found[-1].output_gradients.sum()) == pytest.approx(float((shares * (1 - shares)).sum(1).mean()), rel=0.1)
    stem = F.unfold(images, 3, padding=1).transpose(1, 2).flatten(0, 1)
    assert torch.allclose(found[0].input_covariance, torch.cov(stem.T, correction=0), atol=0.02)
    assert torch.allclose(found[0].output_means, net.features[0](images).detach().mean((0, 2, 3)), atol=1e-5)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_no_class_counts_for_nothing_because_chance_has_not_drawn_it():
    net, seen = network(), batches()
    with torch.no_grad():
        # As sure as after hundreds of epochs.
        net.classifier[1].weight.mul_(1000)
    [*_, last] = fisher_information(net, weight_layers(net), seen)
    assert float(last.output_gradients.min()) > 0.05 * float(last.output_gradients.mean()) > 0


def test_a_network_that_is_certain_of_everything_keeps_its_weights():
    net, seen = network(), batches()
    with torch.no_grad():
        # As of photos that nothing confuses: no answer leaves anything open, and no gradient says what a weight is good for.
        net.classifier[1].weight.mul_(1e5)
    layers = weight_layers(net)
    found = fisher_information(net, layers, seen)
    assert all(float(each.output_gradients.sum()) > 1e-6 for each in found)
    quantize_weights(net, found, 1e-3, seen)
    assert all(float((layer.weight != 0).float().mean()) > 0.05 for layer in layers)


def test_a_network_that_is_almost_certain_is_asked_more_softly():
    """Of four kinds of drawn fruit a network of photos had a mean entropy of 0.026 nats, and lost 95 % of its weights."""
    net, [(images, _labels), *_] = network().eval(), batches()

    def entropy(temperature=1.0):
        answers = (net(images) / temperature).log_softmax(1)
        return float(-(answers.exp() * answers).sum(1).mean())

    with torch.no_grad():
        while entropy() > 0.03:
            net.classifier[1].weight.mul_(1.2)
        assert entropy() > 0.01
        softer = fisher._softening(net, images)
        assert softer > 1 and entropy(softer) >= 0.1 > entropy(softer / 2)


def test_mirror_images_change_no_fisher_information():
    found = []
    for mirrored in (False, True):
        net = network(mirrored=mirrored)
        found.append(fisher_information(net, weight_layers(net), batches())[-1])
    assert torch.equal(found[0].output_gradients, found[1].output_gradients) and torch.equal(
        found[0].input_covariance, found[1].input_covariance
    )


def test_groups_that_see_more_count_more():
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(4, 4, 3, groups=4)
    statistics = LayerStatistics(layer)
    layer.register_forward_hook(statistics.forward_hook)
    sizes = torch.tensor([0.1, 1.0, 1.0, 3.0])
    # Means that differ are left to the bias.
    images = sizes.view(-1, 1, 1) * torch.randn(64, 4, 12, 12) + torch.tensor([5.0, 0.0, -5.0, 0.0]).view(-1, 1, 1)
    layer(images).sum().backward()
    found = statistics.fisher_information()
    assert found.input_covariance.shape == (9, 9) and torch.allclose(
        found.output_gradients / found.output_gradients[1], sizes.square(), rtol=0.2
    )
