"""Training on a grid."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from squeezekit.codec.encodings import Quantized
from squeezekit.codec.tensors import encode_tensors
from squeezekit.networks import network_config
from squeezekit.quantization.code_length import code_length
from squeezekit.quantization.qat import GridOptimizer, GridWeight


def network():
    torch.manual_seed(0)
    return network_config("squeezenet-cifar", base_e=8, incr_e=8, stem_width=8, depth=3, batch_norm=True, dropout=0.0).build()


def optimizer(net, step=0.02, rate=0.05):
    weights = [m.weight for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    return GridOptimizer(torch.optim.SGD(net.parameters(), rate, 0.9), [grid(w, step) for w in weights])


def grid(weight, step):
    steps = torch.full((len(weight),), step)
    meant = weight.detach() / step
    return GridWeight.meaning(weight, steps, meant.round(), meant)


def train(net, chosen, steps=10):
    losses = []
    for i in range(steps):
        torch.manual_seed(i)
        images, labels = torch.rand(16, 3, 32, 32), torch.randint(10, (16,))
        loss = F.cross_entropy(net(images), labels)
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        losses.append(float(loss.detach()))
    return losses


def test_weights_stay_on_their_grid():
    net = network()
    chosen = optimizer(net)
    train(net, chosen)
    for one in chosen.weights:
        assert torch.allclose(one.weight, one.integers() * one.step)
        assert (one.hidden - one.weight).abs().max() <= one.step.max()
        assert not torch.equal(one.hidden, one.weight)


def test_what_stands_behind_is_rounded_to_the_integers_given():
    torch.manual_seed(0)
    weight, meant = torch.zeros(4, 3, 3, 3), 2 * torch.randn(4, 3, 3, 3)
    steps, integers = torch.rand(4) + 0.1, (meant + 0.3 * torch.randn(4, 3, 3, 3)).round()
    found = GridWeight.meaning(weight, steps, integers, meant)
    assert torch.allclose(weight, integers * steps.view(-1, 1, 1, 1))
    found.round(found.price())
    assert torch.equal(found.integers(), integers)
    assert (found.hidden != found.weight).any()


def test_on_a_fine_grid_without_pressure_it_is_the_optimiser_inside():
    on_grid, plain = network(), network()
    losses = train(on_grid, optimizer(on_grid, step=1e-6))
    assert losses == pytest.approx(train(plain, torch.optim.SGD(plain.parameters(), 0.05, 0.9)), rel=1e-3)


def test_rounding_away_from_zero_must_be_worth_its_bits():
    # Of these rows one holds many large weights, one hardly any.
    meant = torch.tensor([[4.0, -3.0, 5.0, 2.0, 0.6], [0.0, 0.0, 1.0, 0.0, 0.6]]).view(2, 5, 1, 1)
    weight = torch.zeros_like(meant)
    found = GridWeight.meaning(weight, torch.ones(2), meant.round(), meant)
    found.hidden = meant.clone()
    found.round(found.price())
    assert found.integers()[0].flatten().tolist() == [4, -3, 5, 2, 1]
    assert found.integers()[1].flatten().tolist() == [0, 0, 1, 0, 0]


def test_the_code_length_is_near_what_the_coder_writes():
    torch.manual_seed(1)
    rows, columns = torch.rand(64, 1, 1, 1) + 0.1, torch.rand(1, 64, 1, 1) + 0.1
    integers = (3 * rows * columns * torch.randn(64, 64, 3, 3)).round()
    written = 8 * len(encode_tensors({"w": Quantized(integers.long().numpy(), np.ones(64, np.float32))}))
    assert code_length(integers) == pytest.approx(written, rel=0.06)


def test_it_goes_on_as_if_nothing_had_happened():
    net = network()
    chosen = optimizer(net)
    train(net, chosen, 5)
    twin = copy.deepcopy(net)
    resumed = optimizer(twin)
    resumed.load_state_dict(copy.deepcopy(chosen.state_dict()))
    assert train(net, chosen, 3) == train(twin, resumed, 3)
