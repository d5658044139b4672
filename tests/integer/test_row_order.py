"""Rows are made once, in time, and kept until nobody reads them any more."""

import numpy as np
import pytest

from squeezekit.integer.plan import IntegerHead
from squeezekit.integer.row_order import DataFlow, residual_source
from tests.fixtures.exported import EVERY_NETWORK, small


def replayed(flow, segment):
    """Computes a segment with numbers in place of rows; every row that is read has to be there."""
    places, made = {}, dict.fromkeys(segment.steps, 0)

    def place(feature_map, row):
        while feature_map in segment.shares and feature_map in segment.rows:
            feature_map = segment.shares[feature_map]
        return feature_map, row % segment.rows.get(feature_map, flow.plan.feature_maps[feature_map].height)

    for number in segment.steps:
        step, row = flow.plan.steps[number], made[number]
        for feature_map, first, last in flow.needed[number][row]:
            if any(segment.begin <= writer < segment.end for writer in flow.writers[feature_map]):
                for read in range(first, last + 1):
                    written = places[place(feature_map, read)]
                    # A bypass of other channels may have been replaced by what was added to it.
                    replaced = residual_source(step) == feature_map != step.source and written == (step.target, read)
                    assert written == (feature_map, read) or replaced
        made[number] += 1
        if not isinstance(step, IntegerHead):
            places[place(step.target, row)] = (step.target, row)
    return made


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_every_row_is_made_once_and_there_when_it_is_read(name):
    flow = DataFlow(small(name)[1])
    random = np.random.default_rng(0)
    for begin, end in [(0, flow.count), *(sorted(random.choice(flow.count + 1, 2, replace=False)) for _ in range(6))]:
        if end - begin < 2:
            continue
        segment = flow.segment(int(begin), int(end))
        made = replayed(flow, segment)
        assert set(segment.steps) == set(range(begin, end)) and all(rows <= flow.height(step) for step, rows in made.items())
        for number in range(begin, end):
            step = flow.plan.steps[number]
            if isinstance(step, IntegerHead) or not flow.inside(step.target, begin, end):
                assert made[number] == flow.height(number)


def test_fire_modules_need_a_few_rows():
    flow = DataFlow(small("squeezed")[1])
    segment = flow.segment(0, flow.count)
    kept = {rows for number, rows in segment.rows.items() if flow.plan.feature_maps[number].height > 4}
    assert max(kept) <= 4


def test_a_single_step_makes_its_rows_at_once():
    flow = DataFlow(small("plain")[1])
    segment = flow.segment(3, 4)
    assert segment.steps == (3,) and not segment.by_row and segment.rows == {}
