"""The activation of xvel-tiniest, faster."""

import torch

from squeezekit.acceleration.activation import FusedTanhExp


def test_the_gradient_of_the_activation():
    x = torch.linspace(-6, 6, 50, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FusedTanhExp(), (x,))


def test_the_activation_has_gradients_where_its_exponential_would_overflow():
    x = torch.tensor([-200.0, 0.0, 50.0, 200.0], requires_grad=True)
    y = FusedTanhExp()(x)
    y.sum().backward()
    assert torch.allclose(y, torch.tensor([0.0, 0.0, 50.0, 200.0])) and torch.isfinite(x.grad).all()
    assert x.grad[2:].tolist() == [1, 1]
