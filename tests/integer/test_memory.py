"""The order of steps decides how many bytes feature maps take."""

from pathlib import Path

import pytest

from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer import memory
from squeezekit.integer.memory import MemoryPlanner
from squeezekit.pretrained.files import model_path
from squeezekit.system.errors import SqueezekitError
from tests.fixtures.exported import EVERY_NETWORK, small

NANO_OF_0_1 = Path(__file__).parents[1] / "modelfile" / "golden" / "cifar10-nano-0.1.sqz"


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_the_best_mixture_is_no_worse_than_either_order(name):
    planner = MemoryPlanner(small(name)[1])
    orders = planner.orders()
    assert orders.least <= min(orders.by_layer, orders.by_row)
    assert planner.fitting(orders.by_layer).by_row == frozenset()
    assert planner.fitting(orders.least).arena.bytes <= orders.least
    between = planner.fitting((orders.least + orders.by_layer) // 2)
    assert between.arena.bytes <= (orders.least + orders.by_layer) // 2
    assert len(between.by_row) <= len(planner.least().by_row)
    with pytest.raises(SqueezekitError, match=rf"--max-ram 100: the feature maps of this network need {orders.least:,} bytes"):
        planner.fitting(100)


@pytest.mark.parametrize("name", ["plain", "squeezed"])
def test_a_network_too_deep_for_all_segments_takes_no_more_than_either_order(name, monkeypatch):
    plan = small(name)[1]
    best = MemoryPlanner(plan).orders().least
    monkeypatch.setattr(memory, "MOST_ROWS_TRIED", 100)
    orders = MemoryPlanner(plan).orders()
    assert best <= orders.least <= min(orders.by_layer, orders.by_row)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "by_layer", "least"), [(NANO_OF_0_1, 91_008, 32_768), ("photo-l", 357_856, 60_000)])
def test_a_pretrained_network_needs_a_third_or_less(model, by_layer, least):
    orders = MemoryPlanner(integer_plan(load_model(model_path(model)))).orders()
    assert orders.by_layer == by_layer and orders.least <= least
