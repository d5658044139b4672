"""What does it cost to train with several processes: bytes exchanged, seconds an epoch, SqueezeNet beside AlexNet?

    python benchmarks/data_parallel.py [--networks squeezenet-cifar alexnet-cifar] [--rounds 3] [--steps 10]

Measured: 1 and 2 processes on this machine, one thread each, a global batch of 64 random images, in turn; bytes are what
went over the loopback interface (Linux only), for each step and process, headers included, median of the steps. Computed
from it: N workers, each on 64 images a step, over a network of B bit/s,

    seconds an epoch = 45,000 ÷ (64 · N) · (seconds of a step on one process + 2 · (N - 1) ÷ N · 32 · parameters ÷ B)

a ring all-reduce of fp32 gradients (Thakur et al., 2005) after each step, neither overlapped with it nor delayed by latency.
Prints one JSON line a measurement, then one line a network, and one for each N and B.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from squeezekit.data.batches import Batches
from squeezekit.data.digits import load_digits
from squeezekit.networks import network_config
from squeezekit.training.distributed import joined
from squeezekit.training.loop import Trainer
from squeezekit.training.recipe import RECIPES

BATCH, EPOCH = 64, 45_000
WORKERS, GIGABITS = (8, 64), (1, 10)


def loopback_bytes() -> int:
    """Bytes that the loopback interface has sent since the machine started."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return int(next(line for line in lines if line.strip().startswith("lo:")).split()[9])


def measure_steps(network: str, steps: int) -> None:
    """Print the median seconds of a step, and the bytes that each process sent for it."""
    with joined() as processes:
        unused = Batches(load_digits(image_size=32, channels=3).training, batch_size=BATCH)
        recipe = RECIPES["classic"].model_copy(update={"precision": "fp32"})
        built = network_config(network).build()
        trainer = Trainer(built, recipe, unused, unused, seed=0, device=torch.device("cpu"), processes=processes)
        trainer.accelerate_when_ready()
        trainer.network.train()
        count = BATCH // processes.count
        images = torch.rand(count, 32, 32, 3).permute(0, 3, 1, 2)
        labels = torch.randint(10, (count,))
        seconds, counts = [], []
        for _ in range(steps + 3):
            processes.wait()
            counts.append(loopback_bytes())
            begin = time.perf_counter()
            trainer.step(images, labels, recipe.learning_rate)
            seconds.append(time.perf_counter() - begin)
        processes.wait()
        sent = statistics.median(after - before for before, after in pairwise([*counts[3:], loopback_bytes()])) / processes.count
        if processes.first:
            print(json.dumps({"step_seconds": statistics.median(seconds[3:]), "bytes": round(sent), **size_of(trainer.network)}))


def size_of(network: nn.Module) -> dict[str, int]:
    """Its parameters."""
    return {"parameters": sum(p.numel() for p in network.parameters())}


def in_children(network: str, processes: int, steps: int) -> dict[str, Any]:
    """`measure_steps` in so many processes."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    command = [sys.executable, *torchrun, __file__, "--child", "--networks", network, "--steps", str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measurements in turn, then their medians, then what follows for more workers."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for number in range(arguments.rounds):
        for network in arguments.networks:
            for processes in (1, 2):
                row = in_children(network, processes, arguments.steps)
                found.setdefault((network, processes), []).append(row)
                yield {"round": number, "network": network, "processes": processes, **row}
    for network in arguments.networks:
        one, two = ([row["step_seconds"] for row in found[network, processes]] for processes in (1, 2))
        parameters = found[network, 1][0]["parameters"]
        yield {
            "network": network,
            "parameters": parameters,
            "epoch_seconds": [round(EPOCH / BATCH * statistics.median(times), 1) for times in (one, two)],
            "speedup": [round(a / b, 2) for a, b in zip(one, two, strict=True)],
            "bytes_a_step": statistics.median(row["bytes"] for row in found[network, 2]),
            "gradient_bytes": 4 * parameters,
        }
        step = statistics.median(one)
        for workers in WORKERS:
            for gigabits in GIGABITS:
                exchange = 2 * (workers - 1) / workers * 32 * parameters / (gigabits * 1e9)
                yield {
                    "network": network,
                    "computed_workers": workers,
                    "gigabits_per_s": gigabits,
                    "exchange_seconds": round(exchange, 5),
                    "epoch_seconds": round(EPOCH / (BATCH * workers) * (step + exchange), 2),
                    "share_computing": round(step / (step + exchange), 3),
                }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["squeezenet-cifar", "alexnet-cifar"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        measure_steps(arguments.networks[0], arguments.steps)
    else:
        for row in rows(arguments):
            print(json.dumps(row), flush=True)
