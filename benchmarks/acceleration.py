"""Does the acceleration pass gain enough to stay? The same training with it and without, in turn.

    python benchmarks/acceleration.py IMAGES [--rounds 5] [--epochs 1] [--limit 10000] [--batch-sizes 128 512]

Each measurement is a training in a process of its own, of `--epochs` epochs over `--limit` images; with and without take turns
within every round, in alternating order. Prints one JSON line a measurement (images/s of each epoch, seconds of the whole
training with its start-up, validation accuracy of the last epoch), then a line a case: the ratio with ÷ without, median and range
over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import squeezekit as sk

# Network and recipe.
CASES = {"squeezenet-cifar": "classic", "fast": "fast", "resnet20": "modern"}


def measured_here(case: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """One training."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        fields = {"epochs": arguments.epochs, "limit": arguments.limit, "test": False, "seed": 0}
        run = sk.train(arguments.images, out=Path(folder) / "run", **case, **fields)
        state = run.checkpoint()
        assert state is not None
        history = state["progress"]["history"]
    return {
        "images_per_s": [row["images_per_s"] for row in history],
        "seconds": round(time.perf_counter() - begin, 2),
        "validation_accuracy": history[-1]["validation_accuracy"],
    }


def in_child(case: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """`measured_here` in a fresh process, so that all start alike."""
    sizes = ["--epochs", str(arguments.epochs), "--limit", str(arguments.limit)]
    command = [sys.executable, __file__, str(arguments.images), "--child", json.dumps(case), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row a measurement, then a row a case."""
    ratios: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    grid = list(product(arguments.networks, arguments.batch_sizes, arguments.precisions))
    for number in range(arguments.rounds):
        for network, batch_size, precision in grid:
            case = {"network": network, "recipe": CASES[network], "batch_size": batch_size, "precision": precision}
            speed = {}
            for on in (True, False) if number % 2 == 0 else (False, True):
                found = in_child({**case, "acceleration": "on" if on else "off"}, arguments)
                speed[on] = statistics.median(found["images_per_s"])
                yield {"round": number, **case, "acceleration": on, **found}
            ratios[network, batch_size, precision].append(speed[True] / speed[False])
    for (network, batch_size, precision), values in ratios.items():
        shown = {"median": statistics.median(values), "least": min(values), "most": max(values)}
        yield {"network": network, "batch_size": batch_size, "precision": precision} | {k: round(v, 3) for k, v in shown.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--networks", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[128, 512])
    parser.add_argument("--precisions", nargs="+", default=["fp32"], choices=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measured_here(json.loads(arguments.child), arguments)))
    else:
        for row in rows(arguments):
            print(json.dumps(row), flush=True)
