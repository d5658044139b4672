"""How many multipliers each step of a circuit has, and what comes of it: cycles a picture, DSPs, memory, registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from squeezekit.export.fpga.circuit import Circuit, Multiplication
from squeezekit.export.fpga.memories import Memory, memories_of
from squeezekit.export.fpga.registers import registers_of
from squeezekit.export.fpga.timing import latency_of
from squeezekit.system.errors import SqueezekitError

MOST_LANES = 16
# Products of weights of at most so many bits are made in logic where a target's DSPs are few: fewer LUTs than the routing costs.
NARROW = 4
# A DSP multiplies 18 bits with 18, signed.
DSP_BITS = 17


@dataclass(frozen=True)
class Target:
    """A chip: nextpnr's name for it, its DSPs, blocks of memory (each of `shapes`, words by bits), multipliers by default."""

    name: str
    device: str
    dsps: int
    ram_blocks: int
    shapes: tuple[tuple[int, int], ...]
    multipliers: int


_EBR_18K = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
_EBR_4K = ((256, 16), (512, 8), (1024, 4), (2048, 2))
TARGETS = {
    one.name: one
    for one in (
        Target("ecp5-85k", "85k", 156, 208, _EBR_18K, 192),
        Target("ecp5-45k", "45k", 72, 108, _EBR_18K, 96),
        Target("ecp5-25k", "25k", 28, 56, _EBR_18K, 48),
        Target("ice40-up5k", "up5k", 8, 30, _EBR_4K, 12),
        Target("generic", "85k", 0, 0, (), 96),
    )
}


@dataclass(frozen=True)
class Parallelism:
    """`filters` are summed at once, `lanes` products of each; with `in_logic`, these without DSPs."""

    filters: int
    lanes: int
    in_logic: bool = False

    @property
    def multipliers(self) -> int:
        """How many that takes."""
        return self.filters * self.lanes


def cycles_of(one: Multiplication, parallel: Parallelism) -> int:
    """Cycles of one step for one picture: words under the filters for each group, or its sums, which leave one by one."""
    groups = ceil(one.outputs / parallel.filters)
    return one.positions * groups * max(one.taps * one.channels // parallel.lanes, parallel.filters + 1)


@dataclass(frozen=True)
class CircuitPlan:
    """A circuit for a target: by step, its multipliers; whether rescaling and bypasses are multiplied in logic, too."""

    circuit: Circuit
    target: Target
    parallel: Mapping[int, Parallelism]
    rescaling_in_logic: bool

    @cached_property
    def cycles_by_step(self) -> dict[int, int]:
        """For one picture, of each step that multiplies."""
        return {one.number: cycles_of(one, self.parallel[one.number]) for one in self.circuit.multiplications}

    @property
    def cycles(self) -> int:
        """From one picture to the next: those of the slowest step, or of the stream with the most bytes."""
        streams = max(_stream_bytes(self.circuit))
        return max(*self.cycles_by_step.values(), streams)

    @cached_property
    def latency(self) -> int:
        """From a picture's first byte to its last logit."""
        return latency_of(self.circuit, self.cycles_by_step)

    @property
    def multipliers(self) -> int:
        """Of weights."""
        return sum(one.multipliers for one in self.parallel.values())

    @property
    def multipliers_in_logic(self) -> int:
        """Those without a DSP."""
        return sum(one.multipliers for one in self.parallel.values() if one.in_logic)

    @property
    def dsps(self) -> int:
        """All of them."""
        others = 0 if self.rescaling_in_logic else _other_products(self.circuit)
        return self.multipliers - self.multipliers_in_logic + others

    @cached_property
    def memories(self) -> tuple[Memory, ...]:
        """All memories."""
        return tuple(memories_of(self.circuit, {number: (one.filters, one.lanes) for number, one in self.parallel.items()}))

    @property
    def registers(self) -> int:
        """Bits of registers, about."""
        sharing = {number: (one.filters, one.lanes) for number, one in self.parallel.items()}
        return registers_of(self.circuit, sharing, self.target.shapes)

    @property
    def memory_bits(self) -> int:
        """Of all memories."""
        return sum(one.bits for one in self.memories)

    @property
    def ram_blocks(self) -> int:
        """Blocks of the target's memory."""
        return sum(one.blocks(self.target.shapes) for one in self.memories)


def plan_circuit(circuit: Circuit, target: Target, multipliers: int | None = None) -> CircuitPlan:
    """The circuit with so many multipliers of weights, by default as many as the target has room for.

    Raises SqueezekitError where there are fewer multipliers than steps, or where the circuit does not fit the target.
    """
    count = target.multipliers if multipliers is None else multipliers
    needed = len(circuit.multiplications)
    if count < needed:
        if multipliers is not None:
            raise SqueezekitError(f"--parallel {count}: each of {needed} layers needs a multiplier; give at least {needed}")
        count = needed
    planned = _with_dsps(circuit, target, spread(circuit, count))
    if target.ram_blocks and planned.ram_blocks > target.ram_blocks:
        over = planned.ram_blocks - target.ram_blocks
        raise SqueezekitError(
            f"--target {target.name}: the network needs {planned.ram_blocks} blocks of memory, {over} more than there are; "
            f"try --parallel {needed}, a larger target, or another network"
        )
    return planned


def _with_dsps(circuit: Circuit, target: Target, parallel: dict[int, Parallelism]) -> CircuitPlan:
    """DSPs for rescaling first, then for the widest weights; what is left is multiplied in logic."""
    others = _other_products(circuit)
    if not target.dsps:
        return CircuitPlan(circuit, target, parallel, rescaling_in_logic=False)
    rescaling_in_logic = others > target.dsps
    left = target.dsps - (0 if rescaling_in_logic else others)
    for one in sorted(circuit.multiplications, key=lambda one: (-one.bits * one.data, one.number)):
        wanted = parallel[one.number]
        in_logic = wanted.multipliers > left
        left -= 0 if in_logic else wanted.multipliers
        parallel[one.number] = Parallelism(wanted.filters, wanted.lanes, in_logic)
    return CircuitPlan(circuit, target, parallel, rescaling_in_logic)


def spread(circuit: Circuit, multipliers: int) -> dict[int, Parallelism]:
    """By step, its share of so many multipliers, at least one each, so that the slowest is as fast as possible."""
    ways = {one.number: _options(one) for one in circuit.multiplications}
    limits = sorted({cycles for way in ways.values() for cycles in way})
    low, high = 0, len(limits) - 1
    while low < high:
        middle = (low + high) // 2
        found = _within(ways, limits[middle])
        if found is not None and sum(one.multipliers for one in found.values()) <= multipliers:
            high = middle
        else:
            low = middle + 1
    # Faster than the stream with the most bytes is no use.
    found = _within(ways, max(limits[high], max(_stream_bytes(circuit))))
    assert found is not None
    return found


def _options(one: Multiplication) -> dict[int, Parallelism]:
    """By cycles, the way that takes the fewest multipliers, and of these the fewest lanes."""
    best: dict[int, Parallelism] = {}
    lanes = [n for n in range(1, min(one.channels, MOST_LANES) + 1) if one.channels % n == 0]
    filters = sorted({ceil(one.outputs / groups) for groups in range(1, one.outputs + 1)})
    for parallel in (Parallelism(f, n) for n in lanes for f in filters):
        cycles = cycles_of(one, parallel)
        if cycles not in best or best[cycles].multipliers > parallel.multipliers:
            best[cycles] = parallel
    return best


def _within(ways: Mapping[int, Mapping[int, Parallelism]], limit: int) -> dict[int, Parallelism] | None:
    """By step, the fewest multipliers with which none takes more cycles than the limit; None where one has to."""
    found = {}
    for number, way in ways.items():
        fitting = [parallel for cycles, parallel in way.items() if cycles <= limit]
        if not fitting:
            return None
        found[number] = min(fitting, key=lambda one: (one.multipliers, one.lanes))
    return found


def _stream_bytes(circuit: Circuit) -> list[int]:
    """Bytes of each stream for one picture, one a cycle."""
    maps = [one.bytes for one in circuit.plan.feature_maps]
    before_pooling = [one.positions * one.outputs for one in circuit.multiplications]
    return maps + before_pooling


def _other_products(circuit: Circuit) -> int:
    """DSPs of rescaling and of bypasses."""
    rescaling = sum(ceil((one.total_bits - 1) / DSP_BITS) for one in circuit.multiplications[:-1])
    return rescaling + sum(maker.residual is not None for maker in circuit.makers.values())
