"""What does training lose beside other programs that compute?

    python benchmarks/beside_others.py [IMAGES] [--others 0 1 2] [--network fast] [--recipe fast] [--images 1500] [--rounds 3]
        [--waiting passive active]

Trains on a few images (by default the digits) beside so many processes that do nothing but compute, with OpenMP's threads
waiting in either way: `passive`, which squeezekit sets, and `active`, as torch's library would have them. All in turn in each
round, each training a process of its own; the first epoch warms up. Prints one JSON line a training with its images/s, and one
for each way and number: the median, and its share of that alone. Equal shares of p processors would leave a training beside n
others 1 ÷ (1 + n ÷ p) of its speed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EPOCHS = 2
TRAINING = """
import json, sys, tempfile
from squeezekit import train
data, fields = sys.argv[1], json.loads(sys.argv[2])
with tempfile.TemporaryDirectory() as folder:
    rows = []
    train(data, out=f"{folder}/run", test=False, on_epoch=rows.append, **fields)
print(rows[-1]["images_per_s"])
"""
# What libgomp does by default: spin for a while, then sleep.
ACTIVE = str(300_000)


@contextmanager
def computing(processes: int) -> Iterator[None]:
    """That many processes that compute as long as this is open."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def images_per_s(data: str, fields: dict[str, Any], others: int, waiting: str) -> float:
    """Of the last epoch of a training in a process of its own."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    if waiting == "active":
        # Set, so that squeezekit does not set it, and empty, so that the count holds.
        environment |= {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": ACTIVE}
    with computing(others):
        command = [sys.executable, "-c", TRAINING, data, json.dumps(fields)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def rows(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row a training, then one for each way of waiting and number of others."""
    fields = {"network": given.network, "recipe": given.recipe, "limit": given.images, "epochs": EPOCHS}
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for number in range(given.rounds):
        for waiting in given.waiting:
            for others in given.others:
                speed = images_per_s(given.data, fields, others, waiting)
                found[waiting, others].append(speed)
                yield {"round": number, "waiting": waiting, "others": others, "images_per_s": speed}
    for (waiting, others), speeds in found.items():
        median = statistics.median(speeds)
        alone = statistics.median(found[waiting, 0]) if found[waiting, 0] else None
        row = {
            "network": given.network,
            "waiting": waiting,
            "others": others,
            "median": median,
            "range": [min(speeds), max(speeds)],
        }
        yield row | ({"share": round(median / alone, 3)} if alone else {}) | {"processors": os.cpu_count()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="digits", metavar="IMAGES")
    parser.add_argument("--others", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--network", default="fast")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--waiting", nargs="+", choices=("passive", "active"), default=["passive", "active"])
    for row in rows(parser.parse_args()):
        print(json.dumps(row), flush=True)
