"""How fast does training go, beside the processor's own ceiling, Keras and plain PyTorch?

    python benchmarks/training_speed.py IMAGES [--peer-python PYTHON --peer-script keras_report.py] [--rounds 3]

Recipe `squeezenet-cifar` on `squeezenet-cifar` and `squeezenet-late` (or --networks), with and without batch
normalization, at several batch sizes and
precisions. Each measurement is a process of its own, all in turn in each round, and prints one JSON line: images/s of whole
epochs, data pipeline included (the first epoch warms up and is left out), and of a step on images that lie ready (median).
`share` is the arithmetic of an epoch, six floating-point operations for each multiply-add of the network, ÷ what a large matrix
product reaches in the same precision and round (the gradient of the images and the pooled head, which need no or
less arithmetic, are counted: at most 3 % too much). The peers train without batch normalization in batches of 64, fp32.
Last come one line a case: medians, ranges, and ratios to the peers round by round.
"""

from __future__ import annotations

import argparse
import json
import os
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

import torch

from squeezekit import train
from squeezekit.data.batches import Batches
from squeezekit.data.digits import load_digits
from squeezekit.networks import network_config
from squeezekit.networks.layer_table import layer_table
from squeezekit.networks.registry import NETWORKS
from squeezekit.training.device import chosen_precision, keep_freed_memory
from squeezekit.training.loop import Trainer
from squeezekit.training.recipe import RECIPES

# What the peers train, and how: no batch normalization, fp32.
PEERS_NETWORKS, PEERS_BATCH_NORM, PEERS_PRECISION = ("squeezenet-cifar", "squeezenet-late"), False, "fp32"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
PLAIN = Path(__file__).parent / "peers" / "plain_pytorch.py"


def matrix_rate(precision: str, side: int) -> float:
    """Floating-point operations/s of a large matrix product, the best of a few."""
    a, b = (torch.rand(side, side).to(PRECISIONS[precision]) for _ in range(2))
    seconds = []
    for _ in range(6):
        begin = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - begin)
    return 2 * side**3 / min(seconds)


def epoch_rate(case: dict[str, Any], images: Path, limit: int, epochs: int) -> float:
    """Images/s of the epochs after the first, median."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(images, out=Path(folder) / "run", recipe="classic", epochs=epochs, limit=limit, test=False, **case)
        state = run.checkpoint()
        assert state is not None
        return statistics.median(row["images_per_s"] for row in state["progress"]["history"][1:])


def step_rate(case: dict[str, Any], steps: int) -> float:
    """Images/s of a training step on a batch that lies ready, median."""
    keep_freed_memory()
    recipe = RECIPES["classic"].model_copy(update={"batch_size": case["batch_size"], "precision": case["precision"]})
    network = network_config(case["network"], batch_norm=case["batch_norm"]).build()
    # The batches serve only to make a trainer; its step takes images of our own.
    unused = Batches(load_digits(image_size=32, channels=3).training, batch_size=recipe.batch_size)
    trainer = Trainer(network, recipe, unused, unused, seed=0, device=torch.device("cpu"))
    trainer.accelerate_when_ready()
    trainer.network.train()
    images = torch.rand(recipe.batch_size, 32, 32, 3).permute(0, 3, 1, 2)
    labels = torch.randint(10, (recipe.batch_size,))
    seconds = []
    for _ in range(steps + 2):
        begin = time.perf_counter()
        trainer.step(images, labels, recipe.learning_rate)
        seconds.append(time.perf_counter() - begin)
    return recipe.batch_size / statistics.median(seconds[2:])


def measured_here(case: dict[str, Any], arguments: argparse.Namespace) -> dict[str, float]:
    """Everything about one case of ours, or about a precision's matrix product."""
    if "network" not in case:
        return {"operations_per_s": matrix_rate(case["precision"], arguments.side)}
    epoch = epoch_rate(case, arguments.images, arguments.limit, arguments.epochs)
    return {"step": round(step_rate(case, arguments.steps), 1), "epoch": round(epoch, 1)}


def in_child(case: dict[str, Any], arguments: argparse.Namespace) -> dict[str, float]:
    """`measured_here` in a fresh process, so that all start alike."""
    command = [sys.executable, __file__, str(arguments.images), "--child", json.dumps(case)]
    for name in ("limit", "epochs", "steps", "side"):
        command += [f"--{name}", str(getattr(arguments, name))]
    result: dict[str, float] = json.loads(_output(command)[-1])
    return result


def peer_rate(command: list[str], network: str, arguments: argparse.Namespace) -> float:
    """Images/s of the epochs after the first of a peer's script, median."""
    flags = ["--network", network, "--epochs", str(arguments.epochs), "--limit", str(arguments.limit)]
    lines = _output([*command, str(arguments.images), *flags])
    return statistics.median([row["images_per_s"] for row in map(json.loads, lines) if "epoch" in row][1:])


def _output(command: list[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout.splitlines()


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row a measurement, all in turn in each round."""
    peers_case = (PEERS_BATCH_NORM, arguments.peers_batch_size, PEERS_PRECISION)
    peers = {"plain PyTorch": [sys.executable, str(PLAIN), "--batch-size", str(arguments.peers_batch_size)]}
    if arguments.peer_python:
        peers["Keras"] = [arguments.peer_python, arguments.peer_script]
    grid = list(product(arguments.batch_norm, arguments.batch_sizes, arguments.precisions))
    for number in range(arguments.rounds):
        ceiling = {}
        for precision in arguments.precisions:
            ceiling[precision] = in_child({"precision": precision}, arguments)["operations_per_s"]
            yield {"round": number, "who": "matrix product", "precision": precision, "gflops": round(ceiling[precision] / 1e9, 1)}
        for network in arguments.networks:
            macs = layer_table(network_config(network)).macs
            for batch_norm, batch_size, precision in grid:
                case = {"network": network, "batch_norm": batch_norm, "batch_size": batch_size, "precision": precision}
                rates = in_child(case, arguments)
                share = round(6 * macs * rates["epoch"] / ceiling[precision], 3)
                yield {"round": number, "who": "squeezekit", "macs": macs, **case, **rates, "share": share}
                if network not in PEERS_NETWORKS or (batch_norm, batch_size, precision) != peers_case:
                    continue
                for who, command in peers.items():
                    rate = peer_rate(command, network, arguments)
                    yield {"round": number, "who": who, "macs": macs, **case, "epoch": rate}


def summary(measured: list[dict[str, Any]], peers_batch_size: int) -> Iterator[dict[str, Any]]:
    """A row a case: the median of its rounds, their range, and the ratio to each peer, round by round."""
    cases = defaultdict(list)
    for row in measured:
        if "network" in row:
            cases[row["who"], row["network"], row["batch_norm"], row["batch_size"], row["precision"]].append(row)
    for (who, network, batch_norm, batch_size, precision), found in cases.items():
        epochs = [row["epoch"] for row in found]
        line = {"who": who, "network": network, "batch_norm": batch_norm, "batch_size": batch_size, "precision": precision}
        line |= {"epoch": statistics.median(epochs), "epoch_range": [min(epochs), max(epochs)]}
        if who == "squeezekit":
            line |= {key: statistics.median(row[key] for row in found) for key in ("step", "share")}
            peers_case = (PEERS_BATCH_NORM, peers_batch_size, PEERS_PRECISION)
            if (batch_norm, batch_size, precision) == peers_case:
                for peer in ("Keras", "plain PyTorch"):
                    theirs = [row["epoch"] for row in cases.get((peer, network, *peers_case), [])]
                    ratios = [round(ours / other, 2) for ours, other in zip(epochs, theirs, strict=False)]
                    line |= {f"times {peer}": {"median": statistics.median(ratios), "rounds": ratios}} if ratios else {}
        yield {"cores": os.cpu_count(), **line}


if __name__ == "__main__":
    native = chosen_precision("auto", torch.device("cpu"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a folder with train/<class>/… and test/<class>/…")
    parser.add_argument("--peer-python", help="the interpreter that has Keras")
    parser.add_argument("--peer-script", help="the Keras script")
    parser.add_argument("--networks", nargs="+", default=[*PEERS_NETWORKS], choices=NETWORKS, metavar="NAME")
    parser.add_argument("--batch-norm", nargs="+", type=json.loads, default=[False, True], help="false, true or both")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[64, 256, 512])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"] if native == "bf16" else ["fp32"], choices=PRECISIONS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=5000, help="training images")
    parser.add_argument("--epochs", type=int, default=3, help="the first is left out")
    parser.add_argument("--steps", type=int, default=12, help="on images that lie ready")
    parser.add_argument("--side", type=int, default=4096, help="of the matrices")
    parser.add_argument("--peers-batch-size", type=int, default=64, help="of plain PyTorch; that of Keras is 64")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.child and 0.9 * arguments.limit <= 7 * max(arguments.batch_sizes):
        parser.error("--limit is too small for these batches: an epoch must have eight steps")
    if arguments.child:
        print(json.dumps(measured_here(arguments.child, arguments)))
    else:
        found = []
        for row in rows(arguments):
            found.append(row)
            print(json.dumps(row), flush=True)
        for row in summary(found, arguments.peers_batch_size):
            print(json.dumps(row), flush=True)
