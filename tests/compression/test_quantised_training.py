"""Training on a grid."""

import copy

import pytest
import torch
import torch.nn.functional as F

from squeezekit.compression.quantised_training import GridOptimizer, GridWeight
from squeezekit.networks import network_config


def network():
    torch.manual_seed(0)
    return network_config("report", base_e=8, incr_e=8, stem_width=8, depth=3, batch_norm=True, dropout=0.0).build()


def optimizer(net, step=0.02, pressure=0.0, rate=0.05):
    weights = [m.weight for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    return GridOptimizer(torch.optim.SGD(net.parameters(), rate, 0.9), [GridWeight.of(w, step) for w in weights], pressure)


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
    chosen = optimizer(net, pressure=1.0)
    train(net, chosen)
    for grid in chosen.weights:
        assert torch.equal(grid.weight, grid.integers() * grid.step)
        assert (grid.hidden - grid.weight).abs().max() <= grid.step / 2 * 1.001
        assert not torch.equal(grid.hidden, grid.weight)


def test_on_a_fine_grid_without_pressure_it_is_the_optimiser_inside():
    on_grid, plain = network(), network()
    losses = train(on_grid, optimizer(on_grid, step=1e-6))
    assert losses == pytest.approx(train(plain, torch.optim.SGD(plain.parameters(), 0.05, 0.9)), rel=1e-3)


def test_pressure_makes_weights_cheaper():
    bits = []
    for pressure in (0.0, 0.01, 0.04):
        net = network()
        chosen = optimizer(net, pressure=pressure)
        train(net, chosen, 20)
        bits.append(chosen.bits())
    assert bits[0] > bits[1] > bits[2]


def test_the_slope_is_that_of_the_code_length():
    torch.manual_seed(1)
    grid = GridWeight.of(torch.randn(6, 5, 3, 3), 0.7)
    bits, slope = grid.code_lengths()
    # Moving one weight by so little changes no rounded one, and with it no mean.
    moved = copy.deepcopy(grid)
    moved.hidden += 1e-3 * moved.hidden.sign() * 0.7
    unchanged = moved.integers() == grid.integers()
    assert unchanged.float().mean() > 0.99
    away_from_a_kink = ((grid.hidden / 0.7).abs() - 1).abs() > 0.01
    kept = unchanged & away_from_a_kink
    assert torch.allclose(((moved.code_lengths()[0] - bits) / 1e-3)[kept], slope[kept], atol=0.15)


def test_it_goes_on_as_if_nothing_had_happened():
    net = network()
    chosen = optimizer(net, pressure=1.0)
    train(net, chosen, 5)
    twin = copy.deepcopy(net)
    resumed = optimizer(twin, pressure=1.0)
    resumed.load_state_dict(copy.deepcopy(chosen.state_dict()))
    assert train(net, chosen, 3) == train(twin, resumed, 3)
