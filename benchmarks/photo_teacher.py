"""What do a teacher and photos without labels bring?

    python benchmarks/photo_teacher.py PHOTOS --out FOLDER [--unlabelled DIR] [--limit N] [--start MODEL] [--epochs N] [--seeds 3]

The same network learns the labels of PHOTOS, then the answers of EfficientNet-Lite0 in their place, then those to photos without
labels as well. These are PHOTOS themselves unless a folder is named: with --limit, only so many have a label. Prints test
accuracy and seconds, one JSON line each. Runs are kept in FOLDER, so that a stopped measurement goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from typing import Any

from squeezekit import train

TEACHER = "efficientnet-lite0"


def rows(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One for each way to learn."""
    taught = {"teacher": TEACHER, "temperature": given.temperature}
    ways = {"labels": {}, "teacher": taught, "unlabelled": {**taught, "unlabelled": given.unlabelled or given.photos}}
    fields: dict[str, Any] = {"recipe": "fine-tune", "init_from": given.start, "limit": given.limit, "epochs": given.epochs}
    if given.image_size:
        fields["image_size"] = given.image_size
    for way, more in ways.items():
        out = [given.out + f"/{way}-{seed}" for seed in range(given.seeds)]
        runs = [train(given.photos, out=place, resume=True, seed=seed, **fields, **more) for seed, place in enumerate(out)]
        summaries = [run.summary or {} for run in runs]
        accuracies = [summary["test"]["accuracy"] for summary in summaries]
        yield {
            "learnt": way,
            "test": accuracies,
            "mean": round(statistics.mean(accuracies), 4),
            "seconds": [summary["seconds"] for summary in summaries],
            "images": sum(summaries[0]["class_images"]),
            "parameters": summaries[0]["parameters"],
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", metavar="PHOTOS")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where runs are kept")
    parser.add_argument("--unlabelled", metavar="DIR", help="photos without labels (default: PHOTOS)")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="photos with a label (default: all)")
    parser.add_argument("--start", metavar="MODEL", help="weights to start from (default: random ones)")
    parser.add_argument("--image-size", type=int, metavar="N", help="side of the student's images (default: the network's)")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help="of the teacher's answers (default 1)")
    parser.add_argument("--epochs", type=int, default=20, metavar="N")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    given = parser.parse_args()
    for row in rows(given):
        print(json.dumps({"data": given.photos, "start": given.start, "epochs": given.epochs, **row}), flush=True)
