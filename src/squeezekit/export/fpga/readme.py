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
    order = ", red, green, blue of a pixel after one another" if image.channels == 3 else ""
    grey = ", in grey (ITU-R 601-2 luma)" if image.channels == 1 else ""
    ice40 = target.name.startswith("ice40")
    command, chip = ("make ice40", "iCE40 UP5K") if ice40 else (f"make ecp5 DEVICE={target.ecp5}", "ECP5")
    place = f"{command:30}# Yosys and nextpnr, for an {chip}"
    dsps = f"{planned.dsps} of {target.dsps}" if target.dsps else f"{planned.dsps}, where the chip has any"
    return f"""# {len(classes)} classes in Verilog

{banner}: {plan.weights:,} weights, {plan.macs:,} MACs a picture, in integers only. Verilog-2005 without any vendor's primitives.

```sh
make sim                      # Verilator; pictures.hex holds {image.bytes:,} bytes a picture, two hexadecimal digits each
make sim FLAGS=+stall=100     # with random pauses on both sides
make sim-icarus               # the same with Icarus Verilog
make gates                    # Yosys's generic gates
{place}
```

The last one says whether the circuit fits and how fast it is: pins are any, and no bitstream is written.
The simulation prints a line for each picture: its logits, then the cycles at which its first byte came and its last logit left.

`classifier.v` wires the layers; each kind of layer is a module in a file of its own; `wiring.svg` shows who feeds whom.
Memories, `weights_*.hex` and `table_*.hex`, are read with `$readmemh` from the folder in which the tools run. Modules have plain
names (`add`, `fifo`, `head`, …), and every circuit has the same: two of them, or one beside modules of these names, need
libraries of their own. Verilator's `-Wall` wants `-Wno-WIDTH -Wno-UNUSED`.

| port | |
|---|---|
| `clock`, `reset` | one clock; reset, high for a cycle at least, is synchronous; the byte behind it is the first of a picture |
| `picture_valid`, `picture_ready`, `picture_data` | a picture, {pixels}, 0 to 255: a byte a beat, row by row{order} |
| `logit_valid`, `logit_ready`, `logit_data`, `logit_last` | {units}; `last` with the last one |

A byte passes in each cycle in which valid and ready are high, as in AXI-Stream; `logit_valid` does not wait for `logit_ready`.
The next picture may follow at once: pictures are told apart by counting bytes, so that a byte too few or too many moves all that
follow, until a reset.

The picture is cut to a square in its middle and scaled to {image.height} x {image.width}, as `squeezekit predict` does it{grey};
normalization is in the weights. The answer is the class of the largest logit; that `predict` calls some answers unsure, or none
of these, is not in the circuit.

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

Steps work at the same time. "2 in 16" are two filters at once, in sixteen rounds over the same pixels.

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
