"""FPGA: a folder with the network in Verilog, its memories, a testbench and a Makefile."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from squeezekit.export.fpga.circuit import Circuit
from squeezekit.export.fpga.planner import TARGETS, CircuitPlan, plan_circuit
from squeezekit.export.fpga.readme import readme_of
from squeezekit.export.fpga.source import MODULES, part, verilog_of
from squeezekit.export.fpga.wiring import wiring_svg
from squeezekit.inference.int8_model import accuracy_in_integers, integer_plan
from squeezekit.inference.model import load_model
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.presentation import Presented
from squeezekit.system.version import version

PICTURES = "pictures.hex"  # What the simulation reads; whoever exports anew keeps it.
# Beside memories: what an export holds, and what make builds in it.
OWN = {"classifier.v", "testbench.v", "README.md", "Makefile", "wiring.svg", *(f"{name}.v" for name in MODULES)}
OTHERS = {"build", PICTURES}
MEMORY = re.compile(r"(weights|table)_\d+\.hex")


@dataclass(frozen=True)
class FpgaExport(Presented):
    """What was written and planned: `cycles` from one picture to the next, `latency` cycles from a picture's first byte to its
    last logit, both where nothing outside waits.

    multipliers: of weights, `multipliers_in_logic` of them without a DSP; dsps: with those that rescale. memory_bits are those of
    all memories, `ram_blocks` the blocks that they take, 0 where the target is generic; luts and registers are estimates.
    `validation` is the accuracy 0…1 `before` and `after`, empty where no images are at hand.
    """

    folder: str
    target: str
    macs: int
    cycles: int
    latency: int
    clock_mhz: float
    pictures_a_second: float
    multipliers: int
    multipliers_in_logic: int
    dsps: int
    memory_bits: int
    ram_blocks: int
    luts: int
    registers: int
    validation: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The result in sentences for a reader."""
        blocks = f" in {self.ram_blocks} blocks" if self.ram_blocks else ""
        return [
            f"{self.folder}: {self.cycles:,} cycles a picture, {self.latency:,} until its answer; at {self.clock_mhz:g} MHz, "
            f"if the tools reach it, {self.pictures_a_second:,.0f} pictures a second",
            f"{self.multipliers} multipliers, {self.multipliers_in_logic} of them in logic; {self.dsps} DSPs; "
            f"{self.memory_bits:,} bits of memory{blocks}; about {self.luts:,} LUTs, {self.registers:,} registers",
        ]


def export_fpga(
    model: str | Path,
    out: str | Path,
    *,
    target: str = "generic",
    parallel: int | None = None,
    clock: float = 50.0,
    data: str | Path | None = None,
) -> FpgaExport:
    """Write a run or a `.sqz` file of a network that has integers as Verilog-2005 into the folder `out`.

    Each layer is a module with its own multipliers and weights in memory; all work at the same time. `parallel` multipliers of
    weights, by default as many as `target` has room for, are spread so that the slowest layer is as fast as possible. `clock`,
    in MHz, is what the tools are asked for. The logits are those of the integer reference, to the bit. An earlier export in `out`
    is replaced whole, but for the pictures to simulate. Raises SqueezekitError, also for a network that does not fit the target,
    and when anything else is there.
    """
    if target not in TARGETS:
        raise SqueezekitError(f"--target {target}: is unknown; choose {', '.join(TARGETS)}")
    if not 0 < clock <= 1000:
        raise SqueezekitError(f"--clock {clock:g}: give the clock in MHz, above 0 and at most 1000")
    loaded, out = load_model(model), expanded(out)
    _check_replaceable(out)
    plan = integer_plan(loaded, data)
    circuit = Circuit(plan)
    planned = plan_circuit(circuit, TARGETS[target], parallel)
    banner = f"A classifier of {len(loaded.classes)} classes, network '{loaded.config.name}', made by squeezekit {version()}"
    files = verilog_of(circuit, planned, banner)
    files["README.md"] = readme_of(circuit, planned, loaded.classes, banner, clock)
    files["Makefile"] = part("Makefile").replace("@CLOCK@", f"{clock:g}").replace("@DEVICE@", planned.target.ecp5)
    files["wiring.svg"] = wiring_svg(circuit, planned)
    if (out / PICTURES).is_file():
        files[PICTURES] = (out / PICTURES).read_text(encoding="utf-8", errors="replace")
    atomic_io.write_folder(out, files)
    return _described(out, circuit, planned, clock, accuracy_in_integers(loaded, plan, data))


def _described(out: Path, circuit: Circuit, planned: CircuitPlan, clock: float, validation: dict[str, float]) -> FpgaExport:
    return FpgaExport(
        str(out),
        planned.target.name,
        circuit.plan.macs,
        planned.cycles,
        planned.latency,
        clock,
        round(clock * 1e6 / planned.cycles, 1),
        planned.multipliers,
        planned.multipliers_in_logic,
        planned.dsps,
        planned.memory_bits,
        planned.ram_blocks,
        planned.luts,
        planned.registers,
        validation,
    )


def _check_replaceable(out: Path) -> None:
    """Refuse a folder with anything but the files of an export and what make builds of them."""
    if not out.exists():
        return
    if not out.is_dir():
        raise SqueezekitError(f"-o {out}: is a file; name a new folder")
    names = {path.name for path in out.iterdir()}
    foreign = {name for name in names - OWN - OTHERS if not MEMORY.fullmatch(name)}
    if foreign or (names and "classifier.v" not in names):
        raise SqueezekitError(f"-o {out}: is there and holds other things than an export; name a new folder")
