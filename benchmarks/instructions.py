"""How many instructions does a picture take on a Cortex-M, emulated?

    python benchmarks/instructions.py [MODEL …] [--processors cortex-m4 cortex-m7]

Compiles the exported C by zig's compiler with -O2: with a processor's DSP instructions, without them (plain loops), and with
weights without zeros. QEMU's clock advances a nanosecond an instruction: SysTick counts forties of instructions, not cycles, at
25 MHz. Needs qemu-system-arm and `pip install 'squeezekit[c]'`. Prints one JSON line each; null where the timer has wrapped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from emulated import said
from squeezekit.export.c.source import source_of
from squeezekit.export.c.tables import StoreWeights
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import Model, load_model
from squeezekit.integer.plan import IntegerPlan
from squeezekit.pretrained.files import model_path

PROCESSORS = ("cortex-m4", "cortex-m7")
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
    side, channels = model.config.image_size, model.config.channels
    noise = np.random.default_rng(0).integers(0, 256, (1, side, side, channels), np.uint8)
    (ticks, *_), *_ = said(source.files, noise, machine, ["-DCOUNTED", *flags], ["-icount", "shift=0"])
    instructions = PER_TICK * ticks if ticks > 0 else None
    return {"processor": machine, "way": way, "macs": source.macs, "instructions": instructions}


def main() -> None:
    """Parse, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["digits-nano", "cifar10-nano"], metavar="MODEL")
    parser.add_argument("--processors", nargs="+", choices=PROCESSORS, default=[*PROCESSORS], metavar="NAME")
    given = parser.parse_args()
    for name in given.models:
        model = load_model(model_path(name))
        plan = integer_plan(model)
        for machine in given.processors:
            for way in WAYS:
                print(json.dumps({"model": Path(name).stem, **counted(plan, model, machine, way)}), flush=True)


if __name__ == "__main__":
    main()
