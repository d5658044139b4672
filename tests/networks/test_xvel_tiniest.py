"""The network to beat, from its description."""

import pytest
import torch

from squeezekit.networks import network_config
from squeezekit.networks.layer_table import layer_table
from squeezekit.networks.xvel_tiniest import TanhExp, TiniestBlock
from tests.fixtures.gradients import check_gradients_in_bf16


def test_it_has_the_parameters_of_the_published_one():
    table = layer_table(network_config("xvel-tiniest"))
    assert table.parameters == 97_530


def test_a_block_does_what_is_written():
    torch.manual_seed(0)
    block, x = TiniestBlock(16).double(), torch.randn(2, 16, 12, 12, dtype=torch.float64)
    with torch.no_grad():
        block.scale.uniform_(0.5, 1.5)
        kept, near, middle, far = (x[:, i : i + 4] for i in range(0, 16, 4))
        pooled = torch.nn.functional.avg_pool2d(far, 3, 1, 1)
        seen = torch.cat([kept, block.near(near), block.middle(middle), block.far[1](pooled)], 1)
        mean, variance = seen.mean(1, keepdim=True), seen.var(1, correction=0, keepdim=True)
        normed = (seen - mean) / (variance + 1e-5).sqrt()
        wide = block.widen(normed)
        gates = wide[:, 16:] * torch.tanh(wide[:, 16:].exp())
        expected = x * block.scale.view(-1, 1, 1) + block.mix(wide[:, :16] * gates)
        assert torch.allclose(block(x), expected, atol=1e-12)


def test_the_gradient_of_the_activation():
    x = torch.linspace(-6, 6, 50, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(TanhExp(), (x,))


def test_the_activation_has_gradients_where_its_exponential_would_overflow():
    x = torch.tensor([-200.0, 0.0, 50.0, 200.0], requires_grad=True)
    y = TanhExp()(x)
    y.sum().backward()
    assert torch.allclose(y, torch.tensor([0.0, 0.0, 50.0, 200.0])) and torch.isfinite(x.grad).all()
    assert x.grad[2:].tolist() == [1, 1]


@pytest.mark.slow
def test_gradients_in_bf16_are_those_in_fp32_nearly():
    torch.manual_seed(0)
    check_gradients_in_bf16(network_config("xvel-tiniest").build())
