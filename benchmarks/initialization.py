"""From which initial filters does a stack of Fire modules without batch normalization learn, and from how many seeds?

    python benchmarks/initialization.py IMAGES [--network squeezenet-cifar] [--seeds 6] [--steps 90]

Recipe `classic` (Adam 0.001, batches of 64, pixels 0…1). Prints one JSON line a training: the mean training loss of the
last 20 steps and the highest of all. A network that stays at ln(10) = 2.303 has not learnt.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from squeezekit.data.batches import Batches
from squeezekit.data.image_set import ImageSet
from squeezekit.data.sources import load_images
from squeezekit.data.splits import split_images
from squeezekit.networks import network_config
from squeezekit.training.callbacks import Callback, Training
from squeezekit.training.loop import Trainer
from squeezekit.training.recipe import RECIPES

FILTERS: dict[str, Callable[[torch.Tensor], object]] = {
    "glorot-uniform": nn.init.xavier_uniform_,
    "he-normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "he-normal, centred": lambda weight: weight,  # what the network has of itself
}


class Losses(Callback):
    """The training loss of each of the first `steps` steps."""

    def __init__(self, steps: int) -> None:
        self.losses: list[float] = []
        self._steps = steps

    def on_step(self, trainer: Training, rate: float) -> None:
        """One loss more."""
        self.losses.append(trainer.loss)
        trainer.should_stop = len(self.losses) == self._steps


def losses(images: ImageSet, network: str, kind: str, seed: int, steps: int) -> list[float]:
    """The training loss of each step."""
    split = split_images(images, seed=seed)
    training = Batches(images, split.training, batch_size=64, seed=seed)
    torch.manual_seed(seed)
    fresh = network_config(network).build()
    last = [module for module in fresh.modules() if isinstance(module, nn.Conv2d)][-1]
    for module in fresh.modules():
        if isinstance(module, nn.Conv2d) and module is not last:
            FILTERS[kind](module.weight)
    trainer = Trainer(fresh, RECIPES["classic"], training, training, seed=seed, device=torch.device("cpu"))
    steps_taken = Losses(steps)
    trainer.fit([steps_taken])
    return steps_taken.losses


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """A row a training, then how many of each kind learnt."""
    images = load_images(str(arguments.images)).training
    learnt = dict.fromkeys(FILTERS, 0)
    for seed in range(arguments.seeds):
        for kind in FILTERS:
            values = losses(images, arguments.network, kind, seed, arguments.steps)
            end = sum(values[-20:]) / 20
            learnt[kind] += end < 0.98 * math.log(10)
            yield {"filters": kind, "seed": seed, "loss": round(end, 4), "highest": round(max(values), 4)}
    yield {"network": arguments.network, "steps": arguments.steps, "seeds": arguments.seeds, "learnt": learnt}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a folder with train/<class>/… and test/<class>/…")
    parser.add_argument("--network", default="squeezenet-cifar", choices=["squeezenet-cifar", "squeezenet-late"])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=90, help="at least 20, less than an epoch")
    for row in rows(parser.parse_args()):
        print(json.dumps(row), flush=True)
