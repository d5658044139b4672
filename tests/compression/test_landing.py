"""A round of training that ends at a number of bytes."""

import pytest
import torch
from tests.compression.test_quantised_training import network, optimizer, train

from squeezekit.compression.landing import EVERY, MOST_DEARNESS, Landing


def landing(size, max_bytes, steps=100):
    chosen = optimizer(network())
    return chosen, Landing(chosen, lambda: size(chosen), max_bytes, steps)


def test_bits_grow_dearer_while_there_are_too_many():
    chosen, found = landing(lambda chosen: 1000 + chosen.bits() / 8, max_bytes=1200)
    assert chosen.bits() > 2 * chosen.most_bits
    for step in range(1, EVERY):
        found.steer(step)
        assert chosen.dearness == 1
    found.steer(EVERY)
    assert chosen.dearness == pytest.approx(min(chosen.bits() / chosen.most_bits, MOST_DEARNESS))


def test_and_cheaper_while_there_are_too_few():
    chosen, found = landing(lambda chosen: 1000 + chosen.bits() / 8, max_bytes=10**6)
    found.steer(EVERY)
    assert chosen.dearness == pytest.approx(1 / MOST_DEARNESS)


def test_what_else_a_file_holds_is_counted_now_and_then():
    beside = [1000]
    chosen, found = landing(lambda chosen: beside[0] + chosen.bits() / 8, max_bytes=5000, steps=1000)
    before = chosen.most_bits
    assert before == pytest.approx(8 * (0.998 * 5000 - 1000))
    beside[0] = 1500
    found.steer(99)
    assert chosen.most_bits == before
    found.steer(100)
    assert chosen.most_bits == pytest.approx(before - 8 * 500)


def test_it_lands_by_rounding_once_more():
    net = network()
    # A coarse grid: on a fine one bits depend on the steps alone.
    chosen = optimizer(net, step=0.2)
    train(net, chosen, 20)
    found = Landing(chosen, lambda: 1000 + chosen.bits() / 8, 1500, 100)
    chosen.dearness.fill_(1.2)
    chosen.round_again()
    found.max_bytes = int(found.size()) + 1
    chosen.dearness.fill_(1)
    chosen.round_again()
    assert found.size() > found.max_bytes
    hidden = [grid.hidden.clone() for grid in chosen.weights]
    found.land()
    assert found.size() <= found.max_bytes
    assert all(torch.equal(grid.hidden, before) for grid, before in zip(chosen.weights, hidden, strict=True))
    before = found.max_bytes
    assert not found.missed(1500) and found.missed(1507) and found.max_bytes == before - 7


def test_a_round_that_goes_on_is_steered_to_the_same():
    chosen, found = landing(lambda chosen: 1000 + chosen.bits() / 8, max_bytes=2000)
    found.steer(EVERY)
    twin, _ = landing(lambda chosen: 1 + chosen.bits() / 8, max_bytes=5000)
    twin.load_state_dict(chosen.state_dict())
    assert (twin.dearness, twin.most_bits) == (chosen.dearness, chosen.most_bits)
