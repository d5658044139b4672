"""Runs of weights that are not zero."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezekit.integer.sparse_weights import runs_of


def told(runs, length):
    """The weights of one filter, and how many bytes they took."""
    row, place, used = np.zeros(length, np.int8), 0, 0
    while place < length:
        zeros, weight = runs[used] >> 4, (runs[used] & 15) - 8
        place, used = place + zeros, used + 1
        if weight:
            if weight == -8:
                weight, used = int(np.int8(np.uint8(runs[used]))), used + 1
            row[place], place = weight, place + 1
    return row, used


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(st.just(0), st.just(0), st.integers(-128, 127)), min_size=1, max_size=80))
def test_weights_come_back(weights):
    runs = runs_of(np.array([weights, weights[::-1]], np.int8))
    row, used = told(runs, len(weights))
    assert row.tolist() == weights
    row, more = told(runs[used:], len(weights))
    assert row.tolist() == weights[::-1] and used + more == len(runs)


@pytest.mark.parametrize(
    ("weights", "bytes_"),
    [([5], 1), ([-7, 7], 2), ([100], 2), ([-8], 2), ([0] * 15 + [1], 1), ([0] * 16 + [1], 2), ([0] * 45, 3), ([1, 0], 2)],
)
def test_a_small_weight_takes_a_byte(weights, bytes_):
    assert len(runs_of(np.array([weights], np.int8))) == bytes_
