"""How many bytes of code does the exported C take on a Cortex-M, by gcc?

    python benchmarks/code_size.py [MODEL …] [--compiler arm-none-eabi-gcc]

Compiles the library part of an export for a Cortex-M4 and a Cortex-M55, freestanding, with weights in each form. Prints one JSON
line each: `code`, `constants` and `variables` in bytes of the object file, `planned_constants` and `planned_variables` as the
export says them, which leaves out names of classes and the rule for none of these.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import get_args

from emulated import section_bytes
from squeezekit.export.c.source import source_of
from squeezekit.export.c.tables import StoreWeights
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.system import atomic_io

PROCESSORS = ("cortex-m4", "cortex-m55")
LEVELS = ("-Os", "-O2", "-O3")


def main() -> None:
    """Compile, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", metavar="MODEL", nargs="*", default=["cifar10-nano", "digits-nano"])
    parser.add_argument("--compiler", default="arm-none-eabi-gcc")
    given = parser.parse_args()
    version = subprocess.run([given.compiler, "-dumpfullversion"], check=True, capture_output=True, text=True).stdout.strip()
    for name in given.models:
        model = load_model(name)
        plan = integer_plan(model)
        for stored in get_args(StoreWeights):
            source = source_of(plan, model, store_weights=stored)
            for processor in PROCESSORS:
                for level in LEVELS:
                    found = section_bytes(compiled(given.compiler, source.files, processor, level))
                    memory = {"planned_constants": source.memory.constants, "planned_variables": source.memory.variables}
                    place = {"model": name, "store_weights": stored, "processor": processor, "gcc": version, "level": level}
                    print(json.dumps({**place, **found, **memory}), flush=True)


def compiled(compiler: str, files: dict[str, str], processor: str, level: str) -> bytes:
    """The object file of the library part."""
    with tempfile.TemporaryDirectory() as folder:
        atomic_io.write_folder(Path(folder) / "c", files)
        target = [f"-mcpu={processor}", "-mthumb", "-mfloat-abi=softfp", "-ffreestanding", "-fno-pie"]
        subprocess.run([compiler, *target, level, "-c", "c/classifier.c", "-o", "made.o"], cwd=folder, check=True)
        return (Path(folder) / "made.o").read_bytes()


if __name__ == "__main__":
    main()
