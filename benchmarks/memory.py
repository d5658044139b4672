"""How much RAM do feature maps take in C, and what does it cost in speed that rows flow?

    python benchmarks/memory.py [MODEL …] [--pictures 200] [--rounds 5]

A MODEL is a run, a `.sqz` file, or a pretrained name; without, all that are shipped. Prints one JSON line for each: bytes of the
arena layer by layer, all row by row, and in the mixture that `export --format c` writes; constants and multiply-adds with all
weights and without zeros; with gcc milliseconds a picture of noise, in turn: medians, the mixture's over layer by layer's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from squeezekit.export.c.source import source_of
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.memory import MemoryPlanner
from squeezekit.pretrained.files import model_path, pretrained_names
from squeezekit.system import atomic_io

FLAGS = ("-O3", "-march=native")


def measured(name: str, pictures: int, rounds: int) -> dict[str, Any]:
    """One model's line."""
    model = load_model(model_path(name))
    plan = integer_plan(model)
    orders, least = MemoryPlanner(plan).orders(), source_of(plan, model, store_weights="dense")
    by_layer = source_of(plan, model, store_weights="dense", max_ram=orders.by_layer)
    sparse = source_of(plan, model, store_weights="sparse")
    found: dict[str, Any] = {
        "model": Path(name).stem,
        **vars(orders),
        "constants": least.memory.constants,
        "macs": plan.macs,
        "sparse_constants": sparse.memory.constants,
        "sparse_macs": sparse.macs,
    }
    if not shutil.which("gcc") or not rounds:
        return found
    with tempfile.TemporaryDirectory() as folder:
        image = plan.feature_maps[0]
        noise = Path(folder) / "noise.raw"
        np.random.default_rng(0).integers(0, 256, (pictures, image.bytes), np.uint8).tofile(noise)
        programs = [_built(Path(folder) / way, source.files) for way, source in (("least", least), ("by_layer", by_layer))]
        seconds = [[_seconds(program, noise) for program in programs] for _ in range(rounds)]
    ratios = [first / second for first, second in seconds]
    return {
        **found,
        "ms_by_layer": round(1000 * statistics.median(second for _, second in seconds) / pictures, 3),
        "least_over_by_layer": round(statistics.median(ratios), 3),
        "ratios": [round(min(ratios), 3), round(max(ratios), 3)],
        "flags": " ".join(FLAGS),
    }


def _built(folder: Path, files: dict[str, str]) -> Path:
    atomic_io.write_folder(folder, files)
    program = folder / "classify"
    command = ["gcc", "-std=c99", *FLAGS, str(folder / "main.c"), str(folder / "classifier.c"), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def _seconds(program: Path, pictures: Path) -> float:
    begin = time.perf_counter()
    subprocess.run([program, pictures], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Parse, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5, help="0: bytes only")
    given = parser.parse_args()
    for name in given.models or pretrained_names():
        print(json.dumps(measured(name, given.pictures, given.rounds)), flush=True)


if __name__ == "__main__":
    main()
