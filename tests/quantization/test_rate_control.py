"""A round of training that ends at a number of bytes."""

import pytest
import torch

from squeezekit.quantization.rate_control import ESTIMATE_EVERY, MAX_MULTIPLIER, RateControl
from tests.fixtures.quantized_training import network, optimizer, train


def controlled(file_bytes, max_bytes, steps=100):
    chosen = optimizer(network())
    return chosen, RateControl(chosen, lambda: file_bytes(chosen), max_bytes, steps)


def test_the_price_of_a_bit_rises_while_there_are_too_many():
    chosen, found = controlled(lambda chosen: 1000 + chosen.bits() / 8, max_bytes=1200)
    assert chosen.bits() > 2 * chosen.bit_budget
    for step in range(1, ESTIMATE_EVERY):
        found.steer(step)
        assert chosen.rate_multiplier == 1
    found.steer(ESTIMATE_EVERY)
    assert chosen.rate_multiplier == pytest.approx(min(chosen.bits() / chosen.bit_budget, MAX_MULTIPLIER))


def test_and_falls_while_there_are_too_few():
    chosen, found = controlled(lambda chosen: 1000 + chosen.bits() / 8, max_bytes=10**6)
    found.steer(ESTIMATE_EVERY)
    assert chosen.rate_multiplier == pytest.approx(1 / MAX_MULTIPLIER)


def test_other_sections_are_counted_now_and_then():
    others = [1000]
    chosen, found = controlled(lambda chosen: others[0] + chosen.bits() / 8, max_bytes=5000, steps=1000)
    before = chosen.bit_budget
    assert before == pytest.approx(8 * (0.998 * 5000 - 1000))
    others[0] = 1500
    found.steer(99)
    assert chosen.bit_budget == before
    found.steer(100)
    assert chosen.bit_budget == pytest.approx(before - 8 * 500)


def test_a_file_that_is_a_little_too_large_is_trimmed():
    net = network()
    # A coarse grid: on a fine one bits depend on the steps alone.
    chosen = optimizer(net, step=0.2)
    train(net, chosen, 20)
    found = RateControl(chosen, lambda: 1000 + chosen.bits() / 8, 1500, 100)
    chosen.rate_multiplier.fill_(1.2)
    chosen.requantize()
    found.max_bytes = int(found.file_bytes()) + 1
    chosen.rate_multiplier.fill_(1)
    chosen.requantize()
    assert found.file_bytes() > found.max_bytes
    latent = [weight.latent.clone() for weight in chosen.weights]
    assert found.trim() is True
    assert found.file_bytes() <= found.max_bytes and found.trim() is False
    assert all(torch.equal(weight.latent, before) for weight, before in zip(chosen.weights, latent, strict=True))
    before = found.max_bytes
    assert not found.tighten(1500) and found.tighten(1507) and found.max_bytes == before - 7
    # Rounding alone would only cost accuracy, and the same file would be written again.
    assert not found.tighten(1600)


def test_a_round_that_goes_on_is_steered_to_the_same():
    chosen, found = controlled(lambda chosen: 1000 + chosen.bits() / 8, max_bytes=2000)
    found.steer(ESTIMATE_EVERY)
    twin, _ = controlled(lambda chosen: 1 + chosen.bits() / 8, max_bytes=5000)
    twin.load_state_dict(chosen.state_dict())
    assert (twin.rate_multiplier, twin.bit_budget) == (chosen.rate_multiplier, chosen.bit_budget)
