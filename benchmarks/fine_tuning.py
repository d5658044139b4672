"""How many epochs does a pretrained model save?

    python benchmarks/fine_tuning.py --out FOLDER [--model cifar10-nano] [--data digits] [--epochs 1 2 4 8] [--seeds 3]

The same network from random weights and from pretrained ones, with the recipe `modern`; validation accuracy, one JSON line each.
Runs are kept in FOLDER, so that a stopped measurement goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from squeezekit import fine_tune, train
from squeezekit.workflows.fine_tune import starting_point


def rows(model: str, data: str, out: Path, schedules: list[int], seeds: int) -> Iterator[dict[str, Any]]:
    """One for each start and schedule."""
    start = starting_point(model)
    for epochs, begun in product(schedules, ("random weights", model)):
        accuracies = []
        for seed in range(seeds):
            options = {"epochs": epochs, "seed": seed, "test": False, "resume": True}
            options["out"] = out / f"{'tuned' if begun == model else 'fresh'}-{epochs}-{seed}"
            if begun == model:
                run = fine_tune(model, data, **options)
            else:
                run = train(data, network=start.config.name, **start.fields, **options)
            accuracies.append((run.summary or {})["validation"]["accuracy"])
        yield {"from": begun, "epochs": epochs, "validation": accuracies, "mean": round(statistics.mean(accuracies), 4)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--model", default="cifar10-nano")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    for row in rows(given.model, given.data, given.out, given.epochs, given.seeds):
        print(json.dumps({"model": given.model, "data": given.data, **row}), flush=True)
