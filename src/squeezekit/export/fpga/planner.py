"""How many multipliers each step of a circuit has, and what comes of it: cycles a picture, memory, registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from squeezekit.export.fpga.circuit import Circuit, Multiplication
from squeezekit.system.errors import SqueezekitError

MOST_LANES = 16


@dataclass(frozen=True)
class Parallelism:
    """`filters` are summed at once, `lanes` products of each."""

    filters: int
    lanes: int

    @property
    def multipliers(self) -> int:
        """How many that takes."""
        return self.filters * self.lanes


def cycles(one: Multiplication, parallel: Parallelism) -> int:
    """Cycles of one step for one picture: words under the filters for each group, or its sums that leave one by one."""
    groups = ceil(one.outputs / parallel.filters)
    return one.positions * groups * max(one.taps * one.channels // parallel.lanes, parallel.filters + 1)


def options(one: Multiplication) -> dict[int, Parallelism]:
    """By cycles, the way that takes the fewest multipliers, and of these the fewest lanes."""
    best: dict[int, Parallelism] = {}
    lanes = [n for n in range(1, min(one.channels, MOST_LANES) + 1) if one.channels % n == 0]
    filters = sorted({ceil(one.outputs / groups) for groups in range(1, one.outputs + 1)})
    for parallel in (Parallelism(f, n) for n in lanes for f in filters):
        took = cycles(one, parallel)
        if took not in best or best[took].multipliers > parallel.multipliers:
            best[took] = parallel
    return best


def spread(circuit: Circuit, multipliers: int) -> dict[int, Parallelism]:
    """By step, its share of so many multipliers, so that the slowest is as fast as possible; raises SqueezekitError."""
    ways = {one.number: options(one) for one in circuit.multiplications}
    if multipliers < len(ways):
        raise SqueezekitError(f"--parallel {multipliers}: each of {len(ways)} layers needs one; give at least {len(ways)}")
    limits = sorted({took for way in ways.values() for took in way})
    low, high = 0, len(limits) - 1
    while low < high:
        middle = (low + high) // 2
        found = _within(ways, limits[middle])
        if found is not None and sum(one.multipliers for one in found.values()) <= multipliers:
            high = middle
        else:
            low = middle + 1
    found = _within(ways, limits[high])
    assert found is not None
    return found


def _within(ways: Mapping[int, Mapping[int, Parallelism]], limit: int) -> dict[int, Parallelism] | None:
    """By step, the fewest multipliers with which none takes more cycles than the limit."""
    found = {}
    for number, way in ways.items():
        fitting = [parallel for took, parallel in way.items() if took <= limit]
        if not fitting:
            return None
        found[number] = min(fitting, key=lambda one: (one.multipliers, one.lanes))
    return found
