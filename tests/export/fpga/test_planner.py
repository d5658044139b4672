"""Multipliers go where they are needed; what does not fit a chip is said."""

import contextlib
import re

import pytest

from squeezekit import SqueezekitError
from squeezekit.export.fpga.circuit import Circuit
from squeezekit.export.fpga.planner import TARGETS, plan_circuit
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model


@pytest.fixture(scope="module")
def nano():
    return Circuit(integer_plan(load_model("cifar10-nano")))


def test_more_multipliers_never_make_it_slower(nano):
    found = [plan_circuit(nano, TARGETS["generic"], count) for count in (12, 20, 40, 80, 160, 320, 640)]
    assert all(one.multipliers <= count for one, count in zip(found, (12, 20, 40, 80, 160, 320, 640), strict=True))
    cycles = [one.cycles for one in found]
    assert cycles == sorted(cycles, reverse=True) and cycles[0] > 10 * cycles[-1]
    # No picture comes faster than a byte a cycle of its largest feature map.
    most = max(one.bytes for one in nano.plan.feature_maps)
    assert most <= cycles[-1] < 1.05 * most


def test_no_spread_is_faster(nano):
    """With one multiplier less than what the plan has, the slowest step is slower."""
    found = plan_circuit(nano, TARGETS["generic"], 130)
    fewer = plan_circuit(nano, TARGETS["generic"], found.multipliers - 1)
    assert fewer.cycles > found.cycles


@pytest.mark.parametrize("target", ["ecp5-85k", "ecp5-45k", "ecp5-25k"])
def test_a_plan_stays_within_its_chip(nano, target):
    found = plan_circuit(nano, TARGETS[target])
    assert 0.8 * TARGETS[target].dsps <= found.dsps <= TARGETS[target].dsps
    assert found.ram_blocks <= TARGETS[target].ram_blocks


def test_what_does_not_fit_says_by_how_much(nano):
    with pytest.raises(SqueezekitError, match=r"needs \d+ blocks of memory of which there are 56, \d+ too few; "):
        plan_circuit(Circuit(integer_plan(load_model("cifar10-small"))), TARGETS["ecp5-25k"])
    with pytest.raises(SqueezekitError, match="--parallel 3: each of 12 layers needs a multiplier; give at least 12"):
        plan_circuit(nano, TARGETS["generic"], 3)


@pytest.mark.parametrize("model, target, counted", [("cifar10-nano", "ecp5-85k", 21_849), ("digits-nano", "ecp5-45k", 27_649)])
def test_luts_are_about_those_that_nextpnr_counts(model, target, counted):
    """docs/runs/fpga/measured.jsonl; on an ECP5-25K it counted 26,970 for digits-nano, more than there are."""
    assert plan_circuit(Circuit(integer_plan(load_model(model))), TARGETS[target]).luts == pytest.approx(counted, rel=0.1)


def test_small_memories_count(nano):
    with pytest.raises(SqueezekitError, match=r"LUTs, about, of which there are 24,288, .* --target ecp5-45k"):
        plan_circuit(Circuit(integer_plan(load_model("digits-nano"))), TARGETS["ecp5-25k"])
    assert sum(memory.cells for memory in plan_circuit(nano, TARGETS["ecp5-85k"]).memories) == 130


@pytest.mark.parametrize("target, asked", [("ecp5-25k", 10_000), ("ecp5-25k", 174), ("ice40-up5k", 10_000)])
def test_the_way_on_that_is_told_is_one(nano, target, asked):
    """What is named fits, and nothing between it and what was asked for does: more is not always larger in everything."""
    with pytest.raises(SqueezekitError) as refused:
        plan_circuit(nano, TARGETS[target], asked)
    named = re.search(r"--target (\S+) --parallel", str(refused.value).partition(";")[2])
    most = int(re.findall(r"--parallel (\d+)", str(refused.value))[-1])
    chip = TARGETS[named[1]] if named else TARGETS[target]
    assert plan_circuit(nano, chip, most).multipliers == most
    for count in range(most + 1, most + 40):
        with contextlib.suppress(SqueezekitError):
            assert plan_circuit(nano, chip, count).multipliers == most


def test_a_larger_chip_gets_its_own_number_of_multipliers():
    circuit = Circuit(integer_plan(load_model("cifar10-pico")))
    with pytest.raises(SqueezekitError, match="; --target ecp5-25k takes it, or choose another network"):
        plan_circuit(circuit, TARGETS["ice40-up5k"])
    assert plan_circuit(circuit, TARGETS["ecp5-25k"]).multipliers > 40


def test_what_no_chip_takes_says_so():
    with pytest.raises(SqueezekitError, match="no chip here takes it, and --target generic bounds nothing"):
        plan_circuit(Circuit(integer_plan(load_model("cifar10-small"))), TARGETS["ecp5-85k"])
