"""How long do network and recipe `fast` train until a given test accuracy?

    python benchmarks/time_to_accuracy.py IMAGES --out FOLDER [--targets 0.639 0.80 0.85 0.90] [--epochs 1 2 3 …]

For each target: the shortest of the schedules whose validation accuracy, the mean of all seeds, reaches it; one whose first
seeds all miss it by more than a point is not tried further. Only then are the test images measured, once for each seed,
and the line says whether their mean reaches the target too. Seconds are those of training with the validation after each
epoch; decoding (once, then cached), start-up and the test are not in them.
Runs are kept in FOLDER, so that a stopped measurement goes on where it was. Prints one JSON line a run and a target;
`--fields base_e=96 seed=1` go to squeezekit.train.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from squeezekit import evaluate, train

EPOCHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 50)


class Ladder:
    """Runs of every schedule and seed, trained when first asked for."""

    def __init__(self, images: Path, out: Path, fields: dict[str, Any]) -> None:
        self.images, self.out, self.fields = images, out, fields

    def run(self, epochs: int, seed: int) -> dict[str, Any]:
        """The summary of one run."""
        folder = self.out / f"{epochs}-epochs-seed-{seed}"
        fixed: dict[str, Any] = {"network": "fast", "recipe": "fast", "test": False, "resume": True}
        run = train(self.images, out=folder, epochs=epochs, seed=seed, **fixed, **self.fields)
        assert run.summary is not None
        return run.summary

    def test_accuracy(self, epochs: int, seed: int) -> float:
        """Of a run's best weights."""
        return evaluate(self.out / f"{epochs}-epochs-seed-{seed}").accuracy


def rows(ladder: Ladder, targets: list[float], schedules: list[int], seeds: int) -> Iterator[dict[str, Any]]:
    """Climb the schedules; a row a run, and a row for each target as soon as validation reaches it."""
    missing = sorted(targets)
    for epochs in sorted(schedules):
        runs: list[dict[str, Any]] = []
        for seed in range(seeds):
            runs.append(ladder.run(epochs, seed))
            accuracies = [run["validation"]["accuracy"] for run in runs]
            yield {"epochs": epochs, "seed": seed, "validation": accuracies[-1], "seconds": runs[-1]["seconds"]}
            if max(accuracies) < missing[0] - 0.01:
                break
        while missing and len(runs) == seeds and statistics.mean(accuracies) >= missing[0]:
            target = missing.pop(0)
            tests = [ladder.test_accuracy(epochs, seed) for seed in range(seeds)]
            seconds = [run["seconds"] for run in runs]
            yield {
                "target": target,
                "epochs": epochs,
                "parameters": runs[0]["parameters"],
                "validation": accuracies,
                "test": tests,
                "mean_test": round(statistics.mean(tests), 4),
                "reached": statistics.mean(tests) >= target,
                "median_seconds": statistics.median(seconds),
                "seconds": seconds,
                "precision": runs[0]["precision"],
            }
        if not missing:
            return
    yield from ({"target": target, "reached": False, "epochs": None} for target in missing)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a folder with train/<class>/… and test/<class>/…")
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--targets", nargs="+", type=float, default=[0.639, 0.80, 0.85, 0.90])
    parser.add_argument("--epochs", nargs="+", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fields", nargs="*", default=[], help="fields of network, recipe or run, as name=value (JSON)")
    arguments = parser.parse_args()
    fields = {name: json.loads(value) for name, value in (field.split("=", 1) for field in arguments.fields)}
    for row in rows(Ladder(arguments.images, arguments.out, fields), arguments.targets, arguments.epochs, arguments.seeds):
        print(json.dumps(row), flush=True)
