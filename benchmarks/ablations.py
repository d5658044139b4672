"""What does each part of the recipe `fast` bring?

    python benchmarks/ablations.py IMAGES --out FOLDER [--epochs 4] [--seeds 3] [--only NAME …] [--fields name=value …]

Everything as it is, then one part taken away at a time, each with every seed; on validation images, the test images are left
alone. Runs are kept in FOLDER, so that a stopped measurement goes on where it was. Prints one JSON line for each part.
`--fields` go to squeezekit.train.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from squeezekit import train

# What each part is replaced by.
PARTS: dict[str, dict[str, Any]] = {
    "everything": {},
    "Muon: SGD instead": {"optimizer": "sgd", "learning_rate": 0.1},
    "label smoothing": {"label_smoothing": 0.0},
    "shifts and mirror images": {"augmentation": "none"},
    "mirror images in training": {"augmentation": "shift"},
    "small batches: airbench's 2,000": {"batch_size": 2000, "muon_rate": 0.24, "bias_rate": 106.0},
    "rates that only fall: a fifth of warm-up": {"warmup": 0.2},
    "a rate of the biases' own": {"bias_rate": 0.0},
    "a whitened first layer: one that learns": {"stem": "learned", "stem_width": 24},
    "the maximum: the mean": {"last": "mean"},
    "narrow stages: airbench's": {"widths": [64, 256, 256]},
    "this network: that of version 0.1": {"network": "squeezenet-fast"},
}


def rows(images: Path, out: Path, epochs: int, seeds: int, names: list[str], fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One row for each part."""
    for name in names:
        place = out / "".join(letter if letter.isalnum() else "-" for letter in name)
        runs = []
        for seed in range(seeds):
            options = {"network": "fast", "epochs": epochs, "seed": seed, "test": False, "resume": True, **PARTS[name], **fields}
            runs.append(train(images, out=place / f"seed-{seed}", recipe="fast", **options).summary or {})
        accuracies = [run["validation"]["accuracy"] for run in runs]
        yield {
            "without": name,
            "changes": PARTS[name],
            "epochs": epochs,
            "validation": accuracies,
            "mean": round(statistics.mean(accuracies), 4),
            "seconds": [run["seconds"] for run in runs],
            "precision": runs[0]["precision"],
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a folder with train/<class>/… and test/<class>/…")
    parser.add_argument("--out", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME", help="some of the parts")
    parser.add_argument("--fields", nargs="*", default=[], help="of network, recipe or run, as name=value (JSON)")
    given = parser.parse_args()
    changes = {name: json.loads(value) for name, value in (field.split("=", 1) for field in given.fields)}
    for row in rows(given.images, given.out, given.epochs, given.seeds, given.only, changes):
        print(json.dumps(row), flush=True)
