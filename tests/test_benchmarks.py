"""The benchmarks measure what they say."""

import importlib.util
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def script(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("saving", script("savings").SAVINGS)
def test_a_network_without_a_saving_computes_the_same(saving):
    networks = []
    for without in ("nothing", saving):
        torch.manual_seed(0)
        networks.append(script("savings").network_without(without, "report").eval())
    x = torch.rand(2, 3, 32, 32)
    assert torch.allclose(networks[0](x), networks[1](x), atol=1e-5)
    kinds = [[type(module) for module in network.modules()] for network in networks]
    in_the_network = saving in ("random bytes", "pooling before ReLU", "average before convolution")
    assert (kinds[0] != kinds[1]) == in_the_network
