"""Convolutions in groups of channels."""

import pytest
import torch

from squeezekit.networks.grouped import Depthwise, Grouped


@pytest.mark.parametrize(("groups", "stride", "dilation"), [(12, 1, 1), (12, 1, 3), (4, 2, 1)])
def test_groups_as_a_dense_convolution(groups, stride, dilation):
    torch.manual_seed(0)
    layer = Grouped(12, 24, 3, stride, padding=dilation, dilation=dilation, groups=groups)
    x = torch.randn(4, 12, 9, 9).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found.float() - layer(x)).norm() < 0.01 * layer(x).norm()


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [8, 9])
def test_gradients_of_a_strided_depthwise_one_are_those_in_fp32_nearly(kernel, side):
    torch.manual_seed(0)
    layer = Depthwise(24, kernel, 2)
    x = torch.randn(4, 24, side, side).to(memory_format=torch.channels_last).requires_grad_()
    found = []
    for half in (False, True):
        layer.zero_grad()
        x.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = layer(x.bfloat16() if half else x)
        y.float().square().sum().backward()
        found.append([y.detach(), x.grad.clone(), layer.weight.grad.clone(), layer.bias.grad.clone()])
    assert found[1][0].dtype == torch.bfloat16 and found[1][0].is_contiguous(memory_format=torch.channels_last)
    for exact, near in zip(*found, strict=True):
        assert exact.shape == near.shape
        assert (near.float() - exact).norm() < 0.01 * exact.norm()
