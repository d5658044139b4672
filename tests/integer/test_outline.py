"""Sizes are known from shapes alone: they are those of the plan with numbers."""

from dataclasses import replace

import numpy as np
import pytest

from squeezekit.integer.memory import MemoryPlanner
from squeezekit.integer.outline import NoIntegerForm, outline_of, ram_of
from squeezekit.networks import network_config
from tests.fixtures.exported import EVERY_NETWORK, config_of, small

NUMBERS = {"weights", "bias", "gain", "shift", "high", "border", "table", "zero", "residual", "drop"}


def shape_of(step):
    """A step without its numbers."""
    parts = {name: value for name, value in vars(step).items() if name not in NUMBERS}
    parts |= {name: value.shape for name, value in vars(step).items() if isinstance(value, np.ndarray)}
    residual = getattr(step, "residual", None)
    return type(step), parts, residual and residual.source


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_an_outline_has_the_shapes_of_the_plan(name):
    outline, (_model, plan) = outline_of(config_of(name)), small(name)
    for one, other in zip(outline.feature_maps, plan.feature_maps, strict=True):
        assert replace(one, scale=1.0, zero=0) == replace(other, scale=1.0, zero=0)
    assert [shape_of(step) for step in outline.steps] == [shape_of(step) for step in plan.steps]
    assert (outline.macs, outline.weights, outline.mirrored) == (plan.macs, plan.weights, plan.mirrored)
    assert ram_of(config_of(name)) == MemoryPlanner(plan).orders()


@pytest.mark.parametrize("name", ["mobilenetv2_050", "xvel-tiniest", "alexnet"])
def test_a_network_without_integer_form_is_refused_with_the_layer(name):
    with pytest.raises(NoIntegerForm, match=r"^layer '[\w.]+' \(\w+\) has no integer form$"):
        ram_of(network_config(name))


def test_no_weight_of_an_outline_takes_memory():
    outline = outline_of(network_config("squeezenet1_0"))
    assert outline.weights > 10**6
    assert all(not any(step.weights.strides) for step in outline.steps if hasattr(step, "weights"))
