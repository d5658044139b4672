"""Dropout against what it must be on average, and exactly."""

import pytest
import torch

from squeezekit.networks.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_are_dropped_or_scaled_in_the_right_share(p, layout):
    torch.manual_seed(0)
    x = torch.ones(16, 64, 9, 9).contiguous(memory_format=layout).requires_grad_()
    y = Dropout(p)(x)
    kept = (y != 0).float()
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    assert kept.mean().item() == pytest.approx(1 - p, abs=0.01)
    assert len(set(y[y != 0].tolist())) == 1
    # No value knows of its neighbour, in whichever order they lie in memory.
    flat = kept.permute(0, 2, 3, 1).flatten()
    for step in (1, 2, 7, 8, 64):
        assert torch.corrcoef(torch.stack([flat[step:], flat[:-step]]))[0, 1].abs() < 0.02
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y.detach())


def test_nothing_happens_outside_training_or_at_0():
    x = torch.randn(3, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_views_with_gaps_are_read_right():
    torch.manual_seed(0)
    x = torch.randn(64, 10)[:, ::2]
    y = Dropout(0.5)(x)
    assert ((y == 0) | (y == 2 * x)).all()
    assert 0.3 < (y == 0).float().mean() < 0.7


def test_the_seed_decides():
    x = torch.ones(100)
    torch.manual_seed(1)
    first = Dropout(0.5)(x)
    torch.manual_seed(1)
    assert torch.equal(Dropout(0.5)(x), first)
    assert not torch.equal(Dropout(0.5)(x), first)
