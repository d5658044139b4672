"""How many instructions does a picture take on a Cortex-M, emulated?

    python benchmarks/instructions.py [MODEL …] [--processors cortex-m4 cortex-m7]

Compiles the exported C by zig's compiler with -O2: with a processor's DSP instructions, without them (plain loops), and with
weights without zeros. QEMU's clock advances a nanosecond an instruction: SysTick counts forties of instructions, not cycles, at
25 MHz. Needs qemu-system-arm and `pip install 'squeezekit[c]'`. Prints one JSON line each; null where the timer has wrapped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from squeezekit.export.c.source import StoreWeights, source_of
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import Model, load_model
from squeezekit.integer.plan import IntegerPlan
from squeezekit.pretrained.files import model_path
from squeezekit.system import atomic_io

BOARD = Path(__file__).parents[1] / "tests" / "fixtures" / "board"
ZIG = [sys.executable, "-m", "ziglang"]
MACHINES = {"cortex-m4": ("cortex_m4", "mps2-an386"), "cortex-m7": ("cortex_m7", "mps2-an500")}
# Instructions in a tick of SysTick.
PER_TICK = 40
# Of each way the weights' form, and what the compiler is told.
WAYS: dict[str, tuple[StoreWeights, list[str]]] = {
    "plain loops": ("constants", ["-U__ARM_FEATURE_DSP"]),
    "DSP": ("constants", []),
    "without zeros": ("sparse", []),
}


def counted(plan: IntegerPlan, model: Model, machine: str, way: str) -> dict[str, Any]:
    """One model's line."""
    stored, flags = WAYS[way]
    source = source_of(plan, model, store_weights=stored)
    noise = np.random.default_rng(0).integers(0, 256, plan.feature_maps[0].bytes, np.uint8)
    picture = f"#define PICTURES 1\nstatic const uint8_t pictures[] = {{{','.join(map(str, noise))}}};\n"
    processor, board = MACHINES[machine]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        atomic_io.write_folder(folder / "c", {**source.files, "pictures.h": picture})
        objects = [_compiled(folder, file, processor, flags) for file in (BOARD / "main.c", folder / "c" / "classifier.c")]
        program = folder / "program.elf"
        subprocess.run([*ZIG, "ld.lld", "-T", str(BOARD / "cortex_m.ld"), *map(str, objects), "-o", str(program)], check=True)
        emulator = ["qemu-system-arm", "-M", board, "-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=0"]
        asked = ["-semihosting-config", "enable=on,target=native", "-kernel", str(program)]
        done = subprocess.run([*emulator, *asked], capture_output=True, text=True, check=True, timeout=600)
    # QEMU writes what programs say to one or the other.
    ticks = int((done.stdout + done.stderr).split()[0])
    instructions = PER_TICK * ticks if ticks > 0 else None
    return {"processor": machine, "way": way, "macs": source.macs, "instructions": instructions}


def _compiled(folder: Path, file: Path, processor: str, flags: list[str]) -> Path:
    made = folder / f"{file.stem}.o"
    target = ["-target", "thumb-freestanding-eabi", f"-mcpu={processor}", "-ffreestanding", "-fno-sanitize=all"]
    flags = [*target, "-std=c99", "-O2", "-DCOUNTED", *flags, "-I", str(folder / "c")]
    subprocess.run([*ZIG, "cc", *flags, "-c", str(file), "-o", str(made)], check=True)
    return made


def main() -> None:
    """Parse, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["digits-nano", "cifar10-nano"], metavar="MODEL")
    parser.add_argument("--processors", nargs="+", choices=MACHINES, default=list(MACHINES), metavar="NAME")
    given = parser.parse_args()
    for name in given.models:
        model = load_model(model_path(name))
        plan = integer_plan(model)
        for machine in given.processors:
            for way in WAYS:
                print(json.dumps({"model": Path(name).stem, **counted(plan, model, machine, way)}), flush=True)


if __name__ == "__main__":
    main()
