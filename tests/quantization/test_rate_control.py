"""A round of training that ends at a number of bytes."""

import pytest
import torch

from squeezekit.quantization.rate_control import EVERY, MOST_MULTIPLIER, RateControl
from tests.quantization.test_qat import network, optimizer, train


def controlled(size, max_bytes, steps=100):
    chosen = optimizer(network())
    return chosen, RateControl(chosen, lambda: size(chosen), max_bytes, steps)


def test_bits_grow_dearer_while_there_are_too_many():
    chosen, found = controlled(lambda chosen: 1000 + chosen.bits() / 8, max_bytes=1200)
    assert chosen.bits() > 2 * chosen.bit_budget
    for step in range(1, EVERY):
        found.steer(step)
        assert chosen.rate_multiplier == 1
    found.steer(EVERY)
    assert chosen.rate_multiplier == pytest.approx(min(chosen.bits() / chosen.bit_budget, MOST_MULTIPLIER))


def test_and_cheaper_while_there_are_too_few():
    chosen, found = controlled(lambda chosen: 1000 + chosen.bits() / 8, max_bytes=10**6)
    found.steer(EVERY)
    assert chosen.rate_multiplier == pytest.approx(1 / MOST_MULTIPLIER)


def test_what_else_a_file_holds_is_counted_now_and_then():
    beside = [1000]
    chosen, found = controlled(lambda chosen: beside[0] + chosen.bits() / 8, max_bytes=5000, steps=1000)
    before = chosen.bit_budget
    assert before == pytest.approx(8 * (0.998 * 5000 - 1000))
    beside[0] = 1500
    found.steer(99)
    assert chosen.bit_budget == before
    found.steer(100)
    assert chosen.bit_budget == pytest.approx(before - 8 * 500)


def test_what_is_left_too_large_is_rounded_once_more():
    net = network()
    # A coarse grid: on a fine one bits depend on the steps alone.
    chosen = optimizer(net, step=0.2)
    train(net, chosen, 20)
    found = RateControl(chosen, lambda: 1000 + chosen.bits() / 8, 1500, 100)
    chosen.rate_multiplier.fill_(1.2)
    chosen.round_again()
    found.max_bytes = int(found.size()) + 1
    chosen.rate_multiplier.fill_(1)
    chosen.round_again()
    assert found.size() > found.max_bytes
    hidden = [grid.hidden.clone() for grid in chosen.weights]
    found.trim()
    assert found.size() <= found.max_bytes
    assert all(torch.equal(grid.hidden, before) for grid, before in zip(chosen.weights, hidden, strict=True))
    before = found.max_bytes
    assert not found.missed(1500) and found.missed(1507) and found.max_bytes == before - 7
    # Rounding alone would only cost accuracy, and the same file would be written again.
    assert not found.missed(1600)


def test_a_round_that_goes_on_is_steered_to_the_same():
    chosen, found = controlled(lambda chosen: 1000 + chosen.bits() / 8, max_bytes=2000)
    found.steer(EVERY)
    twin, _ = controlled(lambda chosen: 1 + chosen.bits() / 8, max_bytes=5000)
    twin.load_state_dict(chosen.state_dict())
    assert (twin.rate_multiplier, twin.bit_budget) == (chosen.rate_multiplier, chosen.bit_budget)
