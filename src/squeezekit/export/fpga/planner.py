"""How many multipliers each step of a circuit has, and what comes of it: cycles a picture, DSPs, memory, registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from squeezekit.export.fpga.circuit import Circuit, Multiplication
from squeezekit.export.fpga.memories import CircuitMemory, memories_of
from squeezekit.export.fpga.registers import registers_of
from squeezekit.export.fpga.timing import latency_of
from squeezekit.system.errors import SqueezekitError

MOST_LANES = 16
# What Yosys and nextpnr make of these circuits for ECP5: LUTs between registers, of a bypass's constant product, and of a cell of
# memory.
LUTS_A_REGISTER, LUTS_A_BYPASS, LUTS_A_CELL = 1.35, 150, 16
# A DSP multiplies 18 bits with 18, signed.
DSP_BITS = 17


@dataclass(frozen=True)
class FpgaTarget:
    """A chip: LUTs, DSPs, blocks of memory (each of `shapes`, words by bits), multipliers by default.

    `ecp5` is nextpnr's name of the ECP5 that `make ecp5` places the circuit on.
    """

    name: str
    luts: int
    dsps: int
    ram_blocks: int
    shapes: tuple[tuple[int, int], ...]
    multipliers: int
    ecp5: str = "85k"


_EBR_18K = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
_EBR_4K = ((256, 16), (512, 8), (1024, 4), (2048, 2))
TARGETS = {
    one.name: one
    for one in (
        FpgaTarget("ecp5-85k", 83640, 156, 208, _EBR_18K, 192),
        FpgaTarget("ecp5-45k", 43848, 72, 108, _EBR_18K, 96, "45k"),
        FpgaTarget("ecp5-25k", 24288, 28, 56, _EBR_18K, 48, "25k"),
        FpgaTarget("ice40-up5k", 5280, 8, 30, _EBR_4K, 12),
        FpgaTarget("generic", 0, 0, 0, (), 96),
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
    """A circuit for a target: by step, its multipliers; the convolutions and the feature maps whose rescaling and whose bypass
    DSPs multiply.
    """

    circuit: Circuit
    target: FpgaTarget
    parallel: Mapping[int, Parallelism]
    rescaled_by_dsps: frozenset[int]
    added_by_dsps: frozenset[int]

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
        rescaling = sum(count for number, count in _rescaling(self.circuit).items() if number in self.rescaled_by_dsps)
        return self.multipliers - self.multipliers_in_logic + rescaling + len(self.added_by_dsps)

    @property
    def luts(self) -> int:
        """Of four inputs, about: between registers, in small memories, and products in logic, a row of adders for each bit."""
        found = LUTS_A_REGISTER * self.registers + LUTS_A_CELL * sum(one.cells for one in self.memories)
        for one in self.circuit.multiplications:
            parallel = self.parallel[one.number]
            if parallel.in_logic:
                found += parallel.multipliers * one.bits * (one.data + one.bits)
            if one.number in _rescaling(self.circuit) and one.number not in self.rescaled_by_dsps:
                found += 2 * one.gain_bits * one.total_bits
        bypasses = sum(maker.residual is not None for maker in self.circuit.makers.values())
        return round(found + LUTS_A_BYPASS * (bypasses - len(self.added_by_dsps)))

    @cached_property
    def memories(self) -> tuple[CircuitMemory, ...]:
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


def plan_circuit(circuit: Circuit, target: FpgaTarget, multipliers: int | None = None) -> CircuitPlan:
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
    for what, wanted, there in (
        ("blocks of memory", planned.ram_blocks, target.ram_blocks),
        ("LUTs, about,", planned.luts, target.luts),
    ):
        if there and wanted > there:
            few = f"{wanted:,} {what} of which there are {there:,}, {wanted - there:,} too few"
            way = _way_on(circuit, target, count, asked=multipliers is not None)
            with_these = f"--target {target.name}: with {planned.multipliers} multipliers the network needs"
            raise SqueezekitError(f"{with_these} {few}; {way}")
    return planned


def _way_on(circuit: Circuit, target: FpgaTarget, count: int, *, asked: bool) -> str:
    """What would fit: fewer multipliers, or a larger target with as many as it has room for, or as were `asked` for."""
    if most := _most_that_fit(circuit, target, count):
        return f"it fits with --parallel {most}"
    for other in sorted(TARGETS.values(), key=lambda one: one.luts):
        wanted = count if asked else max(other.multipliers, len(circuit.multiplications))
        if other.luts > target.luts and (most := _most_that_fit(circuit, other, wanted)):
            as_wanted = most == _with_dsps(circuit, other, spread(circuit, wanted)).multipliers
            return f"--target {other.name}{'' if as_wanted else f' --parallel {most}'} takes it, or choose another network"
    return "no chip here takes it, and --target generic bounds nothing; or choose another network"


def _most_that_fit(circuit: Circuit, target: FpgaTarget, count: int) -> int:
    """The most multipliers, `count` at most, with which a circuit fits; 0 where it never does."""
    while count >= len(circuit.multiplications):
        planned = _with_dsps(circuit, target, spread(circuit, count))
        if planned.ram_blocks <= target.ram_blocks and planned.luts <= target.luts:
            return planned.multipliers
        # All numbers between make the same circuit; a smaller one need not be smaller in everything.
        count = planned.multipliers - 1
    return 0


def _with_dsps(circuit: Circuit, target: FpgaTarget, parallel: dict[int, Parallelism]) -> CircuitPlan:
    """DSPs for what takes the most logic without: rescaling, then bypasses, then the widest weights."""
    left = target.dsps if target.dsps else sum(one.multipliers for one in parallel.values()) + sum(_rescaling(circuit).values())
    left += 0 if target.dsps else len(circuit.makers)
    rescaled, added = set(), set()
    for number, count in _rescaling(circuit).items():
        if count <= left:
            rescaled.add(number)
            left -= count
    for index, maker in circuit.makers.items():
        if maker.residual and left:
            added.add(index)
            left -= 1
    for one in sorted(circuit.multiplications, key=lambda one: (-one.bits * one.data, one.number)):
        wanted = parallel[one.number]
        in_logic = wanted.multipliers > left
        left -= 0 if in_logic else wanted.multipliers
        parallel[one.number] = Parallelism(wanted.filters, wanted.lanes, in_logic)
    return CircuitPlan(circuit, target, parallel, frozenset(rescaled), frozenset(added))


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


def _rescaling(circuit: Circuit) -> dict[int, int]:
    """By convolution, the DSPs that its rescaling takes."""
    return {one.number: ceil((one.total_bits - 1) / DSP_BITS) for one in circuit.multiplications[:-1]}
