"""Rounding that knows what a bit is worth, and what it rests on."""

import copy

import pytest
import torch
import torch.nn.functional as F

from squeezekit.acceleration.folding import folded
from squeezekit.compression.rate_distortion_method import modules_of
from squeezekit.networks import network_config
from squeezekit.quantization.bias_correction import correct_biases, reestimate_batch_norm
from squeezekit.quantization.code_length import code_length
from squeezekit.quantization.equalization import balance
from squeezekit.quantization.fisher import FisherInformation, _Sums, fisher_information
from squeezekit.quantization.rate_distortion import round_by_rate, steps_for


def network(**fields):
    torch.manual_seed(0)
    fields = {"base_e": 16, "incr_e": 8, "squeeze_ratio": 0.5, "stem_width": 8, "depth": 3, "dropout": 0.0, **fields}
    net = network_config("squeezenet-cifar", **fields).build()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.weight)
    return net.eval()


def batches(count=3, size=16):
    torch.manual_seed(1)
    return [(torch.rand(size, 3, 32, 32), torch.randint(10, (size,))) for _ in range(count)]


def test_curvature_of_the_first_layer_and_of_the_last():
    net, seen = network(), batches()
    found = fisher_information(net, modules_of(net), seen)
    images = torch.cat([images for images, _ in seen])
    head = net.classifier[1]
    pooled = net.features(images).mean((2, 3)).detach()
    covariance = torch.cov(pooled.T, correction=0)
    # 48 images, and a filter of 24 weights: what goes together may do so by chance.
    expected = (2 * covariance + covariance.diagonal().diag()) / 3
    assert torch.allclose(found[-1].inputs, expected, atol=1e-5)
    assert torch.allclose(found[-1].means, head(pooled[:, :, None, None]).detach().mean((0, 2, 3)), atol=1e-5)
    # At labels drawn from the answers the expected squared gradient at the logits is p · (1 - p).
    shares = head(pooled[:, :, None, None]).detach().flatten(1).softmax(1)
    assert float(found[-1].outputs.sum()) == pytest.approx(float((shares * (1 - shares)).sum(1).mean()), rel=0.1)
    stem = F.unfold(images, 3, padding=1).transpose(1, 2).flatten(0, 1)
    assert torch.allclose(found[0].inputs, torch.cov(stem.T, correction=0), atol=0.02)
    assert torch.allclose(found[0].means, net.features[0](images).detach().mean((0, 2, 3)), atol=1e-5)
    assert all(parameter.grad is None for parameter in net.parameters())


def curvature(fan=40, out=12):
    torch.manual_seed(2)
    # Inputs that go together, as neighbouring pixels do.
    factor = torch.randn(fan, fan // 2) + 1
    return FisherInformation(factor @ factor.T / fan + 0.05 * torch.eye(fan), torch.rand(out) + 0.1, torch.zeros(out))


def loss(weight, found, bend):
    error = (weight - found).flatten(1)
    return float(0.5 * (bend.outputs * ((error @ bend.inputs) * error).sum(1)).sum())


def test_what_comes_later_makes_up_for_errors():
    bend, weight = curvature(), torch.randn(12, 40, 1, 1)
    for price in (1e-3, 1e-2):
        steps = steps_for(bend, price)
        grid = steps.view(-1, 1, 1, 1)
        integers, _ = round_by_rate(weight, steps, bend, price)
        nearest = (weight / grid).round()
        assert loss(weight, integers * grid, bend) < 0.7 * loss(weight, nearest * grid, bend)
        assert code_length(integers) < 1.1 * code_length(nearest)


def test_the_dearer_a_bit_the_fewer_and_the_greater_the_loss():
    bend, weight = curvature(), torch.randn(12, 40, 1, 1)
    bits, losses = [], []
    for price in (1e-6, 1e-4, 1e-3, 1e-2, 1e-1):
        steps = steps_for(bend, price)
        integers, meant = round_by_rate(weight, steps, bend, price)
        bits.append(code_length(integers))
        losses.append(loss(weight, integers * steps.view(-1, 1, 1, 1), bend))
        assert (meant - integers).abs().max() < 1.5
    assert bits == sorted(bits, reverse=True) and losses == sorted(losses)
    assert losses[0] < 1e-3


def test_channels_that_do_nothing_are_no_trouble():
    bend, weight = curvature(), torch.randn(12, 40, 1, 1)
    bend.inputs[3], bend.inputs[:, 3], bend.outputs[5] = 0, 0, 0
    steps = steps_for(bend, 1e-3)
    integers, _ = round_by_rate(weight, steps, bend, 1e-3)
    assert torch.isfinite(steps).all() and torch.isfinite(integers).all()
    nothing = FisherInformation(torch.zeros(40, 40), torch.zeros(12), torch.zeros(12))
    assert torch.isfinite(round_by_rate(weight, steps_for(nothing, 1e-3), nothing, 1e-3)[0]).all()


@pytest.mark.parametrize(
    "fields",
    [
        {"batch_norm": True},
        {},
        {"batch_norm": True, "bypass": "complex"},
        {"bypass": "simple"},
        {"depthwise": 3},
        {"gated": True},
        {"depthwise": 5, "gated": True, "batch_norm": True},
    ],
)
def test_balancing_changes_no_answer_and_makes_inputs_alike(fields):
    net, seen = network(**fields), batches()
    before = copy.deepcopy(net)
    layers = modules_of(net)
    balance(net, dict(zip(layers, fisher_information(net, layers, seen), strict=True)))
    images = seen[0][0]
    assert torch.allclose(net(images), before(images), atol=1e-4)
    squeezed = [m.expand1x1 for m in net.features if hasattr(m, "expand1x1")]
    for layer in squeezed:
        assert not torch.equal(layer.weight, before.get_submodule(_name(net, layer)).weight)
    deviations = fisher_information(net, squeezed, seen)[0].inputs.diagonal().sqrt()
    # Curvatures look at other places of the maps each time.
    assert deviations.median() == pytest.approx(1, abs=0.1)


def _name(net, layer):
    return next(name for name, module in net.named_modules() if module is layer)


def test_mirror_images_change_no_curvature():
    found = []
    for mirrored in (False, True):
        net = network(mirrored=mirrored)
        found.append(fisher_information(net, modules_of(net), batches())[-1])
    assert torch.equal(found[0].outputs, found[1].outputs) and torch.equal(found[0].inputs, found[1].inputs)


def test_statistics_are_taken_anew():
    net, seen = network(batch_norm=True), [*batches(), *batches(1, 3)]
    reestimate_batch_norm(net, seen)
    with torch.no_grad():
        stem = torch.cat([net.features[0](images) for images, _ in seen])
    assert torch.allclose(net.features.norm.running_mean, stem.mean((0, 2, 3)), atol=1e-3)
    assert not net.training and net.features.norm.momentum == 0.1


def test_biases_keep_the_means():
    net, seen = network(), batches()
    layers = modules_of(net)
    wanted = {layer: torch.randn(layer.out_channels) for layer in layers}
    correct_biases(net, wanted, seen)
    found = {}
    for layer in layers:
        layer.register_forward_hook(lambda module, _, result: found.update({module: result.mean((0, 2, 3))}))
    with torch.no_grad():
        net(torch.cat([images for images, _ in seen]))
    for layer in layers:
        assert torch.allclose(found[layer], wanted[layer], atol=1e-3)


def test_folded_it_answers_the_same():
    net, images = network(batch_norm=True, bypass="complex"), batches()[0][0]
    assert torch.allclose(folded(net)(images), net(images), atol=1e-4)


def test_groups_that_see_more_count_more():
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(4, 4, 3, groups=4)
    sums = _Sums(layer)
    layer.register_forward_hook(sums.look)
    sizes = torch.tensor([0.1, 1.0, 1.0, 3.0])
    # Means that differ are left to the bias.
    images = sizes.view(-1, 1, 1) * torch.randn(64, 4, 12, 12) + torch.tensor([5.0, 0.0, -5.0, 0.0]).view(-1, 1, 1)
    layer(images).sum().backward()
    found = sums.curvature()
    assert found.inputs.shape == (9, 9) and torch.allclose(found.outputs / found.outputs[1], sizes.square(), rtol=0.2)
