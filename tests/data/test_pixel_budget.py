"""Memory for decoding is shared."""

import threading

import pytest

from squeezekit.data.pixel_budget import PixelBudget


def test_pixels_are_held_until_they_are_given_back():
    budget = PixelBudget(10)
    with budget.taken(6), budget.taken(4), pytest.raises(TimeoutError), budget.taken(1, 0.01):
        pass
    with budget.taken(10, 0):
        pass


def test_a_picture_of_more_is_decoded_alone():
    budget = PixelBudget(10)
    with budget.taken(50, 0), pytest.raises(TimeoutError), budget.taken(1, 0.01):
        pass
    with budget.taken(1), pytest.raises(TimeoutError), budget.taken(50, 0.01):
        pass


def test_who_waits_goes_on_when_there_is_room():
    budget, done = PixelBudget(10), threading.Event()

    def wait():
        with budget.taken(8):
            done.set()

    with budget.taken(8):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not done.wait(0.05)
    waiting.join()
    assert done.is_set()
