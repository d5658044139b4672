"""How long a small training takes from the command to its result, most of it start-up: before a change and after, in turn.

    python benchmarks/training_start.py SOURCE [SOURCE ...] [--recipes modern classic] [--rounds 5]

Each SOURCE is the `src` folder of a checkout. The training is an epoch of 400 digits of 16 pixels by a network of two Fire
modules, in a process of its own. One JSON line a measurement (seconds on the clock, and of the processor), then one a source and
recipe: median, least and most. The sources come in the other order in every second round; a round before the first fills the
caches.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NETWORK = ["--image-size=16", "--base-e=16", "--incr-e=16", "--stem-width=16", "--depth=2", "--squeeze-ratio=0.5"]
TRAINING = ["train", "--data", "digits", *NETWORK, "--limit=400", "--epochs=1", "--no-test"]


def measured(source: Path, recipe: str) -> tuple[float, float]:
    """Seconds on the clock, and of the processor, children included."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(source.resolve())}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-m", "squeezekit", *TRAINING, "--recipe", recipe, "-o", f"{folder}/run"]
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--recipes", nargs="+", default=["modern", "classic"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for recipe in arguments.recipes:
        found: dict[Path, list[float]] = {source: [] for source in arguments.sources}
        for number in range(arguments.rounds + 1):
            for source in arguments.sources[:: -1 if number % 2 else 1]:
                seconds, processor = measured(source, recipe)
                if number:
                    found[source].append(seconds)
                    row = {"recipe": recipe, "source": str(source), "round": number}
                    print(json.dumps({**row, "seconds": round(seconds, 2), "processor": round(processor, 2)}), flush=True)
        for source, every in found.items():
            summary = {"median": statistics.median(every), "least": min(every), "most": max(every)}
            rounded = {name: round(value, 2) for name, value in summary.items()}
            print(json.dumps({"recipe": recipe, "source": str(source), **rounded}), flush=True)


if __name__ == "__main__":
    main()
