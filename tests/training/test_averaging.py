"""Averages of weights: what they are, where they are, how they go on."""

import pytest
import torch
from torch import nn

from squeezekit.training.averaging import WeightAverage


def test_the_average_follows_the_weights_and_ends_close_to_them():
    network = nn.Linear(2, 1)
    nn.init.zeros_(network.weight)
    average = WeightAverage(network, 0.9)
    nn.init.ones_(network.weight)
    seen = []
    for _ in range(50):
        average.step()
        seen.append(float(average.average["weight"].mean()))
    assert seen == sorted(seen)
    # The first steps have a smaller decay, so that they do not keep the beginning: 2 ÷ 11 of it after the first.
    assert seen[0] == pytest.approx(1 - 2 / 11)
    assert seen[-1] > 0.99


def test_the_network_has_averaged_weights_only_while_they_are_in_place():
    network = nn.BatchNorm1d(2)
    average = WeightAverage(network, 0.5)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.num_batches_tracked += 7
    average.step()
    with average.in_place():
        assert 1 < network.weight[0] < 3
        assert network.num_batches_tracked == 7
    assert network.weight[0] == 3


def test_an_average_goes_on_where_it_was_and_takes_no_other_networks():
    network = nn.Linear(2, 1)
    average, other = WeightAverage(network, 0.5), WeightAverage(nn.Linear(2, 1), 0.5)
    with torch.no_grad():
        network.weight.fill_(3.0)
    average.step()
    other.restore(average.state())
    assert other.steps == 1
    assert torch.equal(other.average["weight"], average.average["weight"])
    with pytest.raises(ValueError, match="average"):
        other.restore({"steps": 1, "average": {"weights": torch.zeros(1, 2)}})
