"""Streams meet again with queues between; what has no module is refused by its step."""

import pytest

from squeezekit import SqueezekitError
from squeezekit.export.fpga.circuit import Circuit
from tests.fixtures.circuits import fire_plan
from tests.fixtures.exported import small


@pytest.mark.parametrize(
    "name, told",
    [
        ("depthwise", r"step \d+ is a depthwise convolution"),
        ("inverted", r"step \d+ is a depthwise convolution"),
        ("mirrored average", "mirror image"),
        ("joined", r"step \d+ is a head with ReLU"),
        ("added to its own source", r"step 1 is a convolution added to what it reads"),
    ],
)
def test_what_has_no_module_is_refused(name, told):
    _model, plan = small(name)
    with pytest.raises(SqueezekitError, match=f"{told}.*; use --format c"):
        Circuit(plan)


def test_a_head_with_relu_is_refused():
    _model, plan = fire_plan(head_relu=True)
    with pytest.raises(SqueezekitError, match=r"step \d+ is a head with ReLU"):
        Circuit(plan)


def test_queues_hold_the_rows_that_filters_wait_for():
    _model, plan = fire_plan()
    circuit = Circuit(plan)
    for index, readers in circuit.readers.items():
        row = plan.feature_maps[index].width * plan.feature_maps[index].channels
        for reader in readers:
            waits = reader.adds or (
                len(readers) > 1 and plan.steps[reader.number].weights.shape[1] == 1 and _beside(plan, reader)
            )
            # Filters of three rows begin when the second one is there: two pass by on the other way. There is room for a third.
            assert reader.queue == (3 * row if waits else 0)


def _beside(plan, reader):
    """Whether a convolution gives only a part of its feature map's channels."""
    step = plan.steps[reader.number]
    return len(step.weights) < plan.feature_maps[step.target].channels
