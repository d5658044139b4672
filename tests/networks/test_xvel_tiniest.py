"""The network to beat, from its description."""

import pytest
import torch

from squeezekit.acceleration.accelerate import accelerate
from squeezekit.acceleration.activation import FusedTanhExp
from squeezekit.acceleration.channel_norm import FusedChannelNorm
from squeezekit.acceleration.dispatch import use_kernels
from squeezekit.networks import network_config
from squeezekit.networks.channel_norm import ChannelNorm
from squeezekit.networks.layer_table import layer_table
from squeezekit.networks.xvel_tiniest import TanhExp, TiniestBlock


def test_it_has_the_parameters_of_the_published_one():
    table = layer_table(network_config("xvel-tiniest"))
    assert table.parameters == 97_530
    # Input, the four parts it is cut into and what is joined share storage; widened, 96 channels stand beside 48 and 96.
    assert table.activation_bytes >= 32 * 32 * (48 + 96)


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


@pytest.fixture
def kernels(compiled_kernels):
    """Compiled kernels compute, until the test is over."""
    use_kernels()
    yield
    use_kernels(False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_channels_are_normalised_pixel_by_pixel_with_torchs_gradients(dtype):
    check_channel_norm(ChannelNorm, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_so_are_they_by_kernels(dtype, kernels):
    check_channel_norm(FusedChannelNorm, dtype)


def check_channel_norm(kind, dtype):
    torch.manual_seed(0)
    norm = kind(8).to(torch.float64 if dtype == torch.float64 else torch.float32)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-1, 1)
    x = torch.randn(64, 8, 5, 5).to(dtype).to(memory_format=torch.channels_last).requires_grad_()
    arriving = torch.randn(64, 8, 5, 5).to(dtype)
    norm(x).backward(arriving)
    found = [x.grad.double(), norm.weight.grad.double(), norm.bias.grad.double()]
    exact = [each.detach().double().requires_grad_() for each in (x, norm.weight, norm.bias)]
    pixels = torch.nn.functional.layer_norm(exact[0].permute(0, 2, 3, 1), [8], exact[1], exact[2], norm.eps)
    pixels.permute(0, 3, 1, 2).backward(arriving.double())
    # Sums over 1,600 pixels in bf16 would be off by more than a hundredth.
    errors = {torch.float64: (1e-12, 1e-12), torch.float32: (1e-5, 1e-5), torch.bfloat16: (0.01, 1e-5)}[dtype]
    for one, other, most in zip(found, exact, (errors[0], errors[1], errors[1]), strict=True):
        assert (one - other.grad).norm() < most * other.grad.norm()


@pytest.mark.parametrize("kind", [TanhExp, FusedTanhExp])
def test_the_gradient_of_the_activation(kind):
    x = torch.linspace(-6, 6, 50, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(kind(), (x,))


@pytest.mark.parametrize("kind", [TanhExp, FusedTanhExp])
def test_the_activation_has_gradients_where_its_exponential_would_overflow(kind):
    x = torch.tensor([-200.0, 0.0, 50.0, 200.0], requires_grad=True)
    y = kind()(x)
    y.sum().backward()
    assert torch.allclose(y, torch.tensor([0.0, 0.0, 50.0, 200.0])) and torch.isfinite(x.grad).all()
    assert x.grad[2:].tolist() == [1, 1]


@pytest.mark.slow
def test_gradients_in_bf16_are_those_in_fp32_nearly():
    check_bf16(accelerated=False)


@pytest.mark.slow
def test_so_are_those_of_kernels(kernels):
    check_bf16(accelerated=True)


def check_bf16(accelerated):
    torch.manual_seed(0)
    network = network_config("xvel-tiniest").build().to(memory_format=torch.channels_last)
    network = accelerate(network, kernels=True) if accelerated else network
    images, labels = torch.randn(8, 32, 32, 3).permute(0, 3, 1, 2), torch.randint(10, (8,))
    found = []
    for half in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        found.append({name: parameter.grad.clone() for name, parameter in network.named_parameters()})
    for name, gradient in found[0].items():
        assert (found[1][name] - gradient).norm() < 0.3 * gradient.norm() + 1e-4, name
