"""How long do network and recipe `fast` train until a given accuracy, and how long does airbench94, on the same images?

    python benchmarks/time_to_accuracy.py IMAGES --out FOLDER [--epochs 3 8 16] [--seeds 3] [--peer-seeds 3] [--rounds 3]
        [--images 4000] [--fields name=value …]

First both train on a few images in turn, `--rounds` times, and their images/s are compared where nothing else disturbs them
(`speed` lines). Then every seed trains each schedule of ours and the peer's own on all training images, none of which validates;
the test images are measured once a run, without test-time augmentation and with it (mirror images, and two shifts by a pixel).
`seconds` are a run's images ÷ its images/s of the first part, so that what else the machine does changes nothing; without
that part they are those of the clock, `measured_s`. Decoding, start-up and the test are in neither. Runs are kept in FOLDER, so
that a stopped measurement goes on where it was. Prints one JSON line a run, and at the end one for each schedule: means over the
seeds, and their share of the peer's time.
`--fields` go to squeezekit.train.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from squeezekit import train
from squeezekit.data.batches import Batches
from squeezekit.networks.layer_table import layer_table
from squeezekit.system import atomic_io
from squeezekit.training.run_folder import Run
from squeezekit.training.run_images import images_of

PEER = Path(__file__).parent / "peers" / "airbench94.py"
PEERS_EPOCHS, PEERS_MACS, PEERS_PARAMETERS = 8, 118_147_360, 1_972_792
FAST: dict[str, Any] = {"network": "fast", "recipe": "fast", "validation_share": 0, "test": False}


def peer(images: Path, *arguments: str) -> dict[str, Any]:
    """What the peer's last line says."""
    command = [sys.executable, str(PEER), str(images), *arguments]
    # Its memory is kept between steps, as squeezekit's is.
    memory = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, **memory})
    return dict(json.loads(done.stdout.splitlines()[-1]))


def views(images: Tensor) -> Iterator[tuple[float, Tensor]]:
    """Each view of test-time augmentation [n, c, h, w] with its weight: the image, two shifts, and their mirror images."""
    side, padded = images.shape[2], F.pad(images, (1,) * 4, "reflect")
    for weight, view in ((1 / 4, images), (1 / 8, padded[:, :, :side, :side]), (1 / 8, padded[:, :, 2:, 2:])):
        yield from ((weight, view), (weight, view.flip(3)))


@torch.inference_mode()
def accuracies(run: Run) -> dict[str, float]:
    """On the test images: `plain`, `augmented`."""
    config, network = run.config, run.network()
    test = images_of(config).test
    batches = Batches(test, batch_size=250, mean=config.network.mean, std=config.network.std)
    right = torch.zeros(2, dtype=torch.float64)
    for images, labels in batches.in_order():
        # The network as it is, and the mean over the views of its logits.
        each = [(weight, network(view)) for weight, view in views(images)]
        for place, logits in enumerate((each[0][1], sum(weight * logits for weight, logits in each))):
            right[place] += (logits.argmax(1) == labels).sum()
    return dict(zip(("plain", "augmented"), (right / len(test)).round(decimals=5).tolist(), strict=True))


def ours(images: Path, out: Path, epochs: int, seed: int, fields: dict[str, Any]) -> dict[str, Any]:
    """A run of ours."""
    run = train(images, out=out / f"fast-{epochs}-seed-{seed}", epochs=epochs, seed=seed, resume=True, **FAST, **fields)
    summary = run.summary or {}
    sizes = {"parameters": summary["parameters"], "macs": layer_table(run.config.network).macs}
    facts = {"network": "fast", "epochs": epochs, "seed": seed, "measured_s": summary["seconds"]}
    return {**facts, **sizes, **accuracies(run), "images": epochs * len(run.split.training)}


def theirs(images: Path, out: Path, seed: int, precision: str) -> dict[str, Any]:
    """A run of the peer's, kept as a file."""
    kept = out / f"airbench94-seed-{seed}.json"
    if not kept.exists():
        atomic_io.write_text(kept, json.dumps(peer(images, "--seed", str(seed), "--precision", precision)))
    row = json.loads(kept.read_text())
    facts = {"network": "airbench94", "epochs": row["epoch"], "seed": seed, "measured_s": row["seconds"]}
    sizes = {"parameters": PEERS_PARAMETERS, "macs": PEERS_MACS, "plain": row["plain"], "augmented": row["augmented"]}
    return {**facts, **sizes, "images": round(row["seconds"] * row["images_per_s"])}


def speeds(images: Path, out: Path, rounds: int, count: int, precision: str, fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Images/s of both, in turn."""
    for number in range(rounds):
        row = peer(images, "--epochs", "1", "--limit", str(count), "--untested", "--precision", precision)
        yield {"speed": "airbench94", "round": number, "images_per_s": row["images_per_s"]}
        place = out / f"speed-{number}"
        # Of an earlier call: speed is that of a moment.
        shutil.rmtree(place, ignore_errors=True)
        summary = train(images, out=place, epochs=1, limit=count, seed=number, **FAST, **fields).summary or {}
        yield {"speed": "fast", "round": number, "images_per_s": summary["images_per_s"]}


def runs(given: argparse.Namespace, precision: str, fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Seed by seed, the peer's run and ours of every schedule."""
    for seed in range(max(given.seeds, given.peer_seeds)):
        if seed < given.peer_seeds:
            yield theirs(given.images_folder, given.out, seed, precision)
        for epochs in given.epochs if seed < given.seeds else []:
            yield ours(given.images_folder, given.out, epochs, seed, fields)


def rows(given: argparse.Namespace, fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Everything that is printed."""
    precision = fields.get("precision", given.precision)
    fields = {"precision": precision, **fields}
    measured: dict[str, list[float]] = {"airbench94": [], "fast": []}
    for row in speeds(given.images_folder, given.out, given.rounds, given.images, precision, fields):
        measured[row["speed"]].append(row["images_per_s"])
        yield row
    speed = {network: statistics.median(found) for network, found in measured.items() if found}
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for run in runs(given, precision, fields):
        own = run["network"]
        run["seconds"] = round(run["images"] / speed[own], 1) if own in speed else run["measured_s"]
        found.setdefault((run["network"], run["epochs"]), []).append(run)
        yield run
    whole = [run["seconds"] for run in found.get(("airbench94", PEERS_EPOCHS), [])]
    for (network, epochs), seeds in found.items():
        means = {name: round(statistics.mean(run[name] for run in seeds), 5) for name in ("plain", "augmented", "seconds")}
        row = {"network": network, "epochs": epochs, "seeds": len(seeds), **means}
        share = {"share_of_peers_time": round(means["seconds"] / statistics.mean(whole), 3)} if whole else {}
        yield {**row, **share, "precision": precision}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images_folder", metavar="IMAGES", type=Path, help="a folder with train/<class>/… and test/<class>/…")
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--epochs", nargs="*", type=int, default=[3, 8, 16], help="schedules of ours")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peer-seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3, help="how often speed is measured")
    parser.add_argument("--images", type=int, default=4000, help="of how many images")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--fields", nargs="*", default=[], help="fields of network, recipe or run, as name=value (JSON)")
    arguments = parser.parse_args()
    changes = {name: json.loads(value) for name, value in (field.split("=", 1) for field in arguments.fields)}
    for row in rows(arguments, changes):
        print(json.dumps(row), flush=True)
