"""Is an epoch of training faster than the peer's, on the same images?

    python benchmarks/training_speed.py IMAGES [--peer-python PYTHON --peer-script keras_report.py] [--rounds 3]

Measures squeezekit and the peer in turn, each in a process of its own, and prints one JSON line a measurement:
images/s of whole epochs, data pipeline included. The first epoch of each process warms up and is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

EPOCHS = 3


def squeezekit_rates(images: Path, network: str, limit: int) -> list[float]:
    """Images/s of each epoch but the first, recipe `report` (batch 64, no batch normalisation)."""
    from squeezekit import train

    with tempfile.TemporaryDirectory() as folder:
        run = train(images, out=Path(folder) / "run", network=network, recipe="report", epochs=EPOCHS, limit=limit, test=False)
        state = run.checkpoint()
        assert state is not None
        return [row["images_per_s"] for row in state["progress"]["history"][1:]]


def peer_rates(python: str, script: str, images: Path, network: str, limit: int) -> list[float]:
    """The same of the Keras script."""
    command = [python, script, str(images), "--network", network, "--epochs", str(EPOCHS), "--limit", str(limit)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [row["images_per_s"] for row in map(json.loads, lines) if "epoch" in row][1:]


def in_child(images: Path, network: str, limit: int) -> list[float]:
    """`squeezekit_rates` in a fresh process, so that both sides start alike."""
    command = [sys.executable, __file__, str(images), "--child", network, "--limit", str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rates: list[float] = json.loads(done.stdout.splitlines()[-1])
    return rates


def rounds(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """The two in turn, then medians and their ratio round by round."""
    for network in arguments.networks:
        ours, theirs = [], []
        for number in range(arguments.rounds):
            ours.append(statistics.median(in_child(arguments.images, network, arguments.limit)))
            yield {"round": number, "network": network, "who": "squeezekit", "images_per_s": ours[-1]}
            if arguments.peer_python:
                peer = peer_rates(arguments.peer_python, arguments.peer_script, arguments.images, network, arguments.limit)
                theirs.append(statistics.median(peer))
                yield {"round": number, "network": network, "who": "keras", "images_per_s": theirs[-1]}
        if theirs:
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            yield {
                "network": network,
                "batch_size": 64,
                "cores": os.cpu_count(),
                "squeezekit": statistics.median(ours),
                "keras": statistics.median(theirs),
                "ratio": round(statistics.median(ratios), 2),
                "ratios": [round(ratio, 2) for ratio in ratios],
            }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a folder with train/<class>/… and test/<class>/…")
    parser.add_argument("--peer-python", help="the interpreter that has Keras")
    parser.add_argument("--peer-script", help="the peer's script")
    parser.add_argument("--networks", nargs="+", default=["report", "late"], choices=["report", "late"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=5000, help="training images")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(squeezekit_rates(arguments.images, arguments.child, arguments.limit)))
    else:
        for line in rounds(arguments):
            print(json.dumps(line), flush=True)
