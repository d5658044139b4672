"""The grid of shifts and mirror images."""

import pytest
import torch

from squeezekit.data.views import ViewGrid, step_of_about_50_views


@pytest.mark.parametrize(
    ("reach", "step", "mirror", "views"), [(4, 2, True, 50), (2, 2, True, 18), (5, 3, False, 9), (0, 1, True, 2)]
)
def test_each_view_has_a_number_of_its_own(reach, step, mirror, views):
    grid = ViewGrid(reach, step, mirror)
    numbers = torch.arange(len(grid))
    shifts, mirrored = grid.shifts(numbers), grid.mirrored(numbers)
    assert len(grid) == views == len(set(zip(*shifts.tolist(), mirrored.tolist(), strict=True)))
    assert shifts.abs().max() == reach // step * step and (shifts % step == 0).all()
    assert mirrored.any() == mirror
    assert torch.equal(grid.numbers(shifts, mirrored), numbers)


def test_the_step_leaves_at_most_50_views_and_something_to_shift():
    assert [step_of_about_50_views(reach) for reach in (0, 1, 2, 3, 4, 7, 8, 28)] == [1, 1, 2, 2, 2, 4, 4, 14]
    for reach in range(60):
        grid = ViewGrid(reach, step_of_about_50_views(reach), True)
        assert len(grid) <= 50 and (grid.furthest > 0) == (reach > 0)
