"""Rate–distortion rounding."""

import torch

from squeezekit.quantization.code_length import code_length
from squeezekit.quantization.fisher import FisherInformation
from squeezekit.quantization.rate_distortion import grid_steps, rate_distortion_round


def random_fisher(fan=40, out=12):
    torch.manual_seed(2)
    # Inputs that go together, as neighbouring pixels do.
    factor = torch.randn(fan, fan // 2) + 1
    return FisherInformation(factor @ factor.T / fan + 0.05 * torch.eye(fan), torch.rand(out) + 0.1, torch.zeros(out))


def loss(weight, found, fisher):
    error = (weight - found).flatten(1)
    return float(0.5 * (fisher.output_gradients * ((error @ fisher.input_covariance) * error).sum(1)).sum())


def test_later_weights_compensate_for_errors():
    fisher, weight = random_fisher(), torch.randn(12, 40, 1, 1)
    for nats_per_bit in (1e-3, 1e-2):
        steps = grid_steps(fisher, nats_per_bit)
        grid = steps.view(-1, 1, 1, 1)
        integers, _ = rate_distortion_round(weight, steps, fisher, nats_per_bit)
        nearest = (weight / grid).round()
        assert loss(weight, integers * grid, fisher) < 0.7 * loss(weight, nearest * grid, fisher)
        assert code_length(integers) < 1.1 * code_length(nearest)


def test_the_dearer_a_bit_the_fewer_and_the_greater_the_loss():
    fisher, weight = random_fisher(), torch.randn(12, 40, 1, 1)
    bits, losses = [], []
    for nats_per_bit in (1e-6, 1e-4, 1e-3, 1e-2, 1e-1):
        steps = grid_steps(fisher, nats_per_bit)
        integers, latent = rate_distortion_round(weight, steps, fisher, nats_per_bit)
        bits.append(code_length(integers))
        losses.append(loss(weight, integers * steps.view(-1, 1, 1, 1), fisher))
        assert (latent - integers).abs().max() < 1.5
    assert bits == sorted(bits, reverse=True) and losses == sorted(losses)
    assert losses[0] < 1e-3


def test_channels_that_do_nothing_are_no_trouble():
    fisher, weight = random_fisher(), torch.randn(12, 40, 1, 1)
    fisher.input_covariance[3], fisher.input_covariance[:, 3], fisher.output_gradients[5] = 0, 0, 0
    steps = grid_steps(fisher, 1e-3)
    integers, _ = rate_distortion_round(weight, steps, fisher, 1e-3)
    assert torch.isfinite(steps).all() and torch.isfinite(integers).all()
    nothing = FisherInformation(torch.zeros(40, 40), torch.zeros(12), torch.zeros(12))
    assert torch.isfinite(rate_distortion_round(weight, grid_steps(nothing, 1e-3), nothing, 1e-3)[0]).all()
