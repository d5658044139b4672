"""What does each saving in a training step bring? The step as it is against the step without one of them, in turn.

    python benchmarks/savings.py [--networks squeezenet-cifar fast] [--rounds 3] [--steps 20] [--batch-size 64] [--batch-norm]

Batches of random images, 3 × 32 × 32, in memory; Adam, the precision that training would choose.
Prints one JSON line a measurement (images/s, the median step of a fresh process), then for each saving the median over
the rounds of the ratio with ÷ without.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squeezekit.acceleration.accelerate import accelerate
from squeezekit.networks import NETWORKS, network_config
from squeezekit.networks.dropout import Dropout
from squeezekit.networks.squeezenet import Head
from squeezekit.training.device import chosen_precision, keep_freed_memory

SAVINGS = (
    "channels-last",
    "random bytes",
    "freed memory kept",
    "average before convolution",
    "kernels",
    "acceleration",
)


class ConvolutionFirst(nn.Module):
    """The head as published: every pixel goes through the last convolution."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.dropout, self.convolution = head

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.convolution(self.dropout(x))
        return scores.mean((2, 3))


def network_without(saving: str, name: str, batch_norm: bool = False) -> nn.Module:
    """The network, without one of the savings that belong to it."""
    fields = {"batch_norm": batch_norm} if "batch_norm" in NETWORKS[name][0].model_fields else {}
    network = network_config(name, **fields).build().train()
    for path, module in list(network.named_modules()):
        if saving == "random bytes" and isinstance(module, Dropout):
            network.set_submodule(path, nn.Dropout(module.p))
        if saving == "average before convolution" and isinstance(module, Head):
            network.set_submodule(path, ConvolutionFirst(module))
    return network if saving == "acceleration" else accelerate(network, kernels=saving != "kernels")


def images_per_s(saving: str, name: str, steps: int, batch_size: int, batch_norm: bool) -> float:
    """The median of a few steps."""
    if saving != "freed memory kept":
        keep_freed_memory()
    layout = torch.contiguous_format if saving == "channels-last" else torch.channels_last
    network = network_without(saving, name, batch_norm).to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
    images = torch.rand(batch_size, 3, 32, 32).contiguous(memory_format=layout)
    labels = torch.randint(10, (batch_size,))
    bf16 = chosen_precision("auto", torch.device("cpu")) == "bf16"
    seconds = []
    for _ in range(steps + 3):
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = network(images).float()
        optimizer.zero_grad()
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return batch_size / statistics.median(seconds[3:])


def in_child(saving: str, name: str, arguments: argparse.Namespace) -> float:
    """`images_per_s` in a fresh process, so that all start alike."""
    sizes = ["--steps", str(arguments.steps), "--batch-size", str(arguments.batch_size)]
    command = [sys.executable, __file__, "--child", saving, "--networks", name, *sizes]
    command += ["--batch-norm"] if arguments.batch_norm else []
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """A row a measurement, then a row a saving."""
    for name in arguments.networks:
        ratios: dict[str, list[float]] = {saving: [] for saving in arguments.savings}
        for number in range(arguments.rounds):
            for saving in arguments.savings:
                whole, less = (in_child(what, name, arguments) for what in ("nothing", saving))
                ratios[saving].append(whole / less)
                yield {
                    "round": number, "network": name, "batch_size": arguments.batch_size,
                    "batch_norm": arguments.batch_norm, "without": saving,
                    "images_per_s": round(less, 1), "whole": round(whole, 1),
                }  # fmt: skip
        for saving, values in ratios.items():
            yield {
                "network": name,
                "batch_size": arguments.batch_size,
                "batch_norm": arguments.batch_norm,
                "saving": saving,
                "ratio": round(statistics.median(values), 3),
                "ratios": [round(value, 3) for value in values],
            }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--networks",
        nargs="+",
        default=["squeezenet-cifar", "squeezenet-late"],
        choices=NETWORKS,
        metavar="NAME",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--savings", nargs="+", default=SAVINGS, choices=SAVINGS)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batch-norm", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        sizes = (arguments.steps, arguments.batch_size, arguments.batch_norm)
        print(images_per_s(arguments.child, arguments.networks[0], *sizes))
    else:
        for row in rows(arguments):
            print(json.dumps(row), flush=True)
