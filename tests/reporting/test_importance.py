"""Main effects: exact on a whole grid, by a forest elsewhere."""

import random

import pytest

from squeezekit.reporting.importance import is_whole_grid, main_effects

GRID = [{"rate": rate, "gate": gate, "same": 1} for rate in (0.0001, 0.001, 0.01) for gate in ("a", "b")]


def test_on_a_whole_grid_shares_are_exact():
    losses = [{0.0001: 0, 0.001: 1, 0.01: 2}[point["rate"]] + (point["gate"] == "b") for point in GRID]
    # Variances 2/3 and 1/4, nothing in common.
    assert is_whole_grid(GRID, ["rate", "gate"])
    assert main_effects(GRID, ["rate", "gate", "same"], losses) == pytest.approx({"rate": 8 / 11, "gate": 3 / 11})


def test_what_only_goes_together_is_nobodys():
    points = [{"a": a, "b": b} for a in (0, 1) for b in (0, 1)]
    assert main_effects(points, ["a", "b"], [0, 1, 1, 0]) == pytest.approx({"a": 0, "b": 0})


@pytest.mark.slow
def test_elsewhere_a_forest_finds_which_field_matters():
    draw = random.Random(0)
    points = [{"rate": 10 ** draw.uniform(-4, -1), "width": draw.randrange(8), "gate": draw.choice("ab")} for _ in range(60)]
    losses = [point["width"] + 0.1 * (point["gate"] == "a") for point in points]
    assert not is_whole_grid(points, list(points[0]))
    shares = main_effects(points, list(points[0]), losses)
    assert shares["width"] > 0.9 and shares["rate"] < 0.05 and shares["gate"] < 0.05
    assert shares == main_effects(points, list(points[0]), losses)


def test_where_nothing_can_be_said_nothing_is():
    assert main_effects(GRID, ["rate"], [1.0] * 6) == {}
    assert main_effects(GRID[:2], ["gate"], [1.0, 2.0]) == {}
