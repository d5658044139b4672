"""Curves get their names by the stated rule."""

import math

import pytest

from squeezekit.search.curves import curve_name


@pytest.mark.parametrize(
    ("losses", "name"),
    [
        ([2.3, math.nan], "diverging"),
        ([2.3, 5.0], "diverging"),
        ([], "diverging"),
        ([2.31, 2.30, 2.302], "not learning"),
        ([2.0, 1.2, 1.8, 1.0, 1.6, 0.9], "oscillating"),
        ([2.2, 2.1, 2.0, 1.9], "slow"),
        ([2.0, 1.5, 1.1, 0.9], "stable"),
        ([1.6, 1.2, 1.22, 1.0, 0.9], "stable"),
    ],
)
def test_curves_have_names(losses, name):
    assert curve_name(losses, 10, best=0.8) == name
