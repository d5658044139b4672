"""The README of an exported circuit."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from squeezekit.export.fpga.circuit import Circuit, Multiplication
from squeezekit.export.fpga.planner import CircuitPlan
from squeezekit.integer.plan import IntegerHead


def readme_of(circuit: Circuit, planned: CircuitPlan, classes: Sequence[str], banner: str, clock: float) -> str:
    """In Markdown: ports, commands, a table of layers and one of resources."""
    image, target, plan = circuit.map(0), planned.target, circuit.plan
    pixels = f"{image.height} x {image.width} pixels of {image.channels} byte{'s' if image.channels > 1 else ''}"
    units = f"its logits, signed, 32 bits, in units of 2^-{plan.fraction}, in the order of the classes"
    rows = "\n".join(_row(circuit, planned, one) for one in circuit.multiplications)
    names = "\n".join(f"{number}. {name}" for number, name in enumerate(classes))
    blocks = f"{planned.ram_blocks} of {target.ram_blocks}" if target.ram_blocks else "the target is generic"
    dsps = f"{planned.dsps} of {target.dsps}" if target.dsps else f"{planned.dsps}, where the chip has any"
    return f"""# {len(classes)} classes in Verilog

{banner}: {plan.weights:,} weights, {plan.macs:,} MACs a picture, in integers only. Verilog-2005 without any vendor's primitives.

```sh
make sim                      # Verilator; pictures.hex holds {image.bytes:,} bytes a picture, two hexadecimal digits each
make sim FLAGS=+stall=100     # with random pauses on both sides
make sim-icarus               # the same with Icarus Verilog
make gates                    # Yosys's generic gates
make ecp5 DEVICE={target.device if target.name.startswith("ecp5") else "85k"}         # Yosys and nextpnr; make ice40 for iCE40
```

The simulation prints a line for each picture: its logits, then the cycles at which its first byte came and its last logit left.

`classifier.v` wires the layers; each kind of layer is a module in a file of its own; `wiring.svg` shows who feeds whom.
Memories are read with `$readmemh` from the folder in which the tools run.

| port | |
|---|---|
| `clock`, `reset` | one clock; reset, high for a cycle at least, is synchronous |
| `picture_valid`, `picture_ready`, `picture_data` | a picture, {pixels}: a byte a beat, row by row, channels innermost |
| `logit_valid`, `logit_ready`, `logit_data`, `logit_last` | {units}; `last` with the last one |

A byte passes in each cycle in which valid and ready are high, as in AXI-Stream. The next picture may follow at once.

## What is planned

| for `{target.name}` | |
|---|---|
| cycles from one picture to the next | {planned.cycles:,} |
| cycles from a picture's first byte to its last logit | {planned.latency:,} |
| pictures a second at {clock:g} MHz | {clock * 1e6 / planned.cycles:,.0f} |
| multipliers of weights | {planned.multipliers}, {planned.multipliers_in_logic} of them in logic |
| DSPs, with those that rescale | {dsps} |
| bits of memory | {planned.memory_bits:,} |
| blocks of memory | {blocks} |
| LUTs, about | {planned.luts:,}{f" of {target.luts:,}" if target.luts else ""} |
| registers, about | {planned.registers:,} |

These are estimates from before anything is built: the tools' reports say what it is.

| step | sums | weights' bits | filters at once | products of each | cycles | multipliers at work |
|---|---|---|---|---|---|---|
{rows}

## Classes

{names}
"""


def _row(circuit: Circuit, planned: CircuitPlan, one: Multiplication) -> str:
    step, parallel = circuit.plan.steps[one.number], planned.parallel[one.number]
    kind = "head" if isinstance(step, IntegerHead) else f"{round(one.taps**0.5)} x {round(one.taps**0.5)} convolution"
    share = one.macs / parallel.multipliers / planned.cycles
    sums = f"{one.outputs} x {one.positions:,} of {one.taps * one.channels}"
    cycles = planned.cycles_by_step[one.number]
    return (
        f"| {one.number}: {kind} | {sums} | {one.bits} | {parallel.filters} in {ceil(one.outputs / parallel.filters)} | "
        f"{parallel.lanes} | {cycles:,} | {share:.0%} |"
    )
