"""Convolutions in groups of channels."""

import pytest
import torch

from squeezekit.acceleration.grouped_convolution import Blur, Depthwise, Grouped, _Depthwise
from squeezekit.networks.xvel_tiniest import FloatConv2d


@pytest.mark.parametrize(("groups", "stride", "dilation"), [(12, 1, 1), (12, 1, 3), (4, 2, 1)])
def test_groups_as_a_dense_convolution(groups, stride, dilation):
    torch.manual_seed(0)
    layer = Grouped(12, 24, 3, stride, padding=dilation, dilation=dilation, groups=groups)
    x = torch.randn(4, 12, 9, 9).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found.float() - layer(x)).norm() < 0.01 * layer(x).norm()


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("channels", "side"), [(12, 8), (17, 9), (37, 5), (3, 1)])
def test_gradients_of_a_depthwise_one(kernel, stride, channels, side):
    torch.manual_seed(0)
    layer = Depthwise(channels, channels, kernel, stride, kernel // 2, groups=channels).double()
    x = torch.randn(3, channels, side, side, dtype=torch.float64, requires_grad=True)
    inputs = (x, layer.weight, layer.bias)
    ours, theirs = _Depthwise.apply(*inputs, stride), layer(x)
    assert torch.equal(ours, theirs)
    arriving = torch.randn_like(theirs)
    for one, other in zip(*(torch.autograd.grad(y, inputs, arriving) for y in (ours, theirs)), strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("images", [0, 4])
def test_a_depthwise_one_in_bf16_is_that_in_fp32_nearly(bias, images):
    torch.manual_seed(0)
    layer = Depthwise(24, 24, 5, 2, 2, groups=24, bias=bias)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(images, 24, 9, 9, generator=torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)
        x = x.to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = layer(x)
        assert y.dtype == dtype and (not images or y.is_contiguous(memory_format=torch.channels_last))
        found.append([y, *torch.autograd.grad(y.float().square().sum(), [x, *layer.parameters()])])
    for exact, near in zip(*found, strict=True):
        assert near.shape == exact.shape and (near.float() - exact).norm() <= 0.01 * exact.norm()


@pytest.mark.parametrize("kind", [FloatConv2d, Grouped])
def test_dilated_depthwise_gradients_are_right_in_bf16(kind):
    """torch 2.13's own are not on every processor."""
    torch.manual_seed(0)
    layer = kind(12, 12, 7, padding=9, dilation=3, groups=12)
    plain = torch.nn.Conv2d(12, 12, 7, padding=9, dilation=3, groups=12)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(8, 12, 16, 16).contiguous(memory_format=torch.channels_last)

    def gradients(module, half):
        seen = (x.bfloat16() if half else x.clone()).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = module(seen)
        assert y.dtype == seen.dtype
        return torch.autograd.grad(y.float().square().sum(), [seen, *module.parameters()])

    for exact, near in zip(gradients(plain, False), gradients(layer, True), strict=True):
        assert (near.float() - exact).norm() < 0.02 * exact.norm()


def test_a_blur_in_bf16_is_that_in_fp32_nearly():
    torch.manual_seed(0)
    x = torch.randn(4, 12, 9, 9).contiguous(memory_format=torch.channels_last)
    found = Blur(3, 1, 1)(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found.float() - torch.nn.functional.avg_pool2d(x, 3, 1, 1)).norm() < 0.01 * x.norm()
