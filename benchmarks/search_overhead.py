"""What does a search cost beside its training, and what do two jobs bring?

    python benchmarks/search_overhead.py IMAGES [--rounds 3] [--limit 8000] [--epochs 3]

The same grid of four networks, whole, by `squeezekit search` with one job of two threads and with two jobs of one thread each, in
turn. Prints one JSON line a search: seconds of the whole command, and the share of them in which a network trained or
validated (with two jobs: the mean of both), seconds before the first trial had its run folder and after the last had its result;
then one line with medians, and two jobs ÷ one job round by round.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

THREADS = 2
SPACE = "[network]\nsqueeze_ratio = [0.125, 0.25]\n[recipe]\nlearning_rate = [0.0003, 0.001]\n"


def searched(images: Path, jobs: int, fields: list[str]) -> dict[str, Any]:
    """One search from beginning to end."""
    with tempfile.TemporaryDirectory() as place:
        space, out = Path(place) / "space.toml", Path(place) / "study"
        space.write_text(SPACE)
        command = [sys.executable, "-m", "squeezekit", "search", "--data", str(images), "--recipe", "classic", "--no-test"]
        command += ["--space", str(space), "--sampler", "grid", "--pruner", "none", "--jobs", str(jobs), "--out", str(out)]
        begin = time.time()
        subprocess.run([*command, *fields], check=True, capture_output=True)
        end = time.time()
        training = sum(trained_seconds(run) for run in out.glob("*/metrics.csv"))
        # Both files are written once.
        first = min(path.stat().st_mtime for path in out.glob("*/config.toml"))
        last = max(path.stat().st_mtime for path in out.glob("*/summary.json"))
    return {
        "jobs": jobs,
        "threads": THREADS // jobs,
        "seconds": round(end - begin, 3),
        "share": round(training / jobs / (end - begin), 3),
        "before": round(first - begin, 3),
        "after": round(end - last, 3),
    }


def trained_seconds(metrics: Path) -> float:
    """Of one run, validation included."""
    with metrics.open() as file:
        return float(list(csv.DictReader(file))[-1]["seconds"])


def rows(images: Path, rounds: int, fields: list[str]) -> Iterator[dict[str, Any]]:
    """Every search, and what they come to."""
    found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    for number in range(rounds):
        for jobs in found:
            row = searched(images, jobs, fields)
            found[jobs].append(row)
            yield {"round": number, **row}
    shares = {f"share_{jobs}": statistics.median(row["share"] for row in made) for jobs, made in found.items()}
    ratios = [round(two["seconds"] / one["seconds"], 3) for one, two in zip(found[1], found[2], strict=True)]
    yield {**shares, "two_jobs_over_one": ratios, "median": statistics.median(ratios)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a folder with train/<class>/… and test/<class>/…")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    fields = ["--limit", str(arguments.limit), "--epochs", str(arguments.epochs)]
    for row in rows(arguments.images, arguments.rounds, fields):
        print(json.dumps(row), flush=True)
