"""What benchmarks/gpu.sh measures: speed of a step, time to an accuracy, and accuracy of long trainings, on one GPU."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch

from squeezekit import evaluate, train
from squeezekit.data.batches import Batches
from squeezekit.data.digits import load_digits
from squeezekit.networks import network_config
from squeezekit.networks.layer_table import layer_table
from squeezekit.training.loop import Trainer
from squeezekit.training.recipe import RECIPES

FAST: dict[str, Any] = {"network": "fast", "recipe": "fast", "test": False}
PEER = Path(__file__).parent / "peers" / "airbench94.py"


class Plan:
    """How much to measure: on a GPU all that fits in ten minutes, in a dry run a taste of each."""

    def __init__(self, dry: bool, seconds: float, epochs: list[int], fields: dict[str, Any]) -> None:
        self.device = torch.device("cpu" if dry else "cuda")
        self.name = "dry run" if dry else torch.cuda.get_device_name()
        self.precision = "fp32" if dry else "bf16"
        self.side = 256 if dry else 8192
        self.repeats, self.steps = (1, 1) if dry else (5, 10)
        self.image_size = 16 if dry else 32
        # Batch size, and whether torch.compile fuses operations.
        self.steppings = [(8, False)] if dry else [(512, False), (512, True), (2048, False)]
        # The first is met by whatever a dry run trains.
        self.targets = [0.0] if dry else [0.90, 0.92, 0.93, 0.94]
        self.schedules = [1] if dry else epochs
        self.seeds = 2 if dry else 5
        self.long = (1,) if dry else (100, 200)
        self.fields: dict[str, Any] = {"limit": 150, "image_size": self.image_size} if dry else {"fused": True}
        self.fast: dict[str, Any] = fields
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object], plan: Plan) -> float:
    """Of one call: the median of five times many in a row, as training makes them, after a few to warm up."""
    for _ in range(plan.repeats):
        work()
    means = []
    for _ in range(plan.repeats):
        wait(plan.device)
        begin = time.perf_counter()
        for _ in range(plan.steps):
            work()
        wait(plan.device)
        means.append((time.perf_counter() - begin) / plan.steps)
    return statistics.median(means)


def matrix_rate(plan: Plan) -> float:
    """Floating-point operations/s of a large matrix product."""
    dtype = torch.bfloat16 if plan.precision == "bf16" else torch.float32
    a, b = (torch.rand(plan.side, plan.side, device=plan.device).to(dtype) for _ in range(2))
    return 2 * plan.side**3 / seconds_of(lambda: a @ b, plan)


def step_rates(plan: Plan, ceiling: float) -> Iterator[dict[str, Any]]:
    """Images/s of a training step on images that lie on the device."""
    torch.backends.cudnn.benchmark = True
    for (batch_size, fused), network, batch_norm in product(
        plan.steppings, ("squeezenet-cifar", "squeezenet-late"), (False, True)
    ):
        config = network_config(network, batch_norm=batch_norm, image_size=plan.image_size)
        recipe = RECIPES["classic"].model_copy(update={"precision": plan.precision, "batch_size": batch_size})
        # The batches serve only to make a trainer; its step takes images of our own.
        unused = Batches(load_digits(image_size=32, channels=3).training, batch_size=batch_size, device=plan.device)
        trainer = Trainer(config.build(), recipe, unused, unused, seed=0, device=plan.device, fused=fused)
        trainer.network.train()
        images = torch.rand(batch_size, plan.image_size, plan.image_size, 3, device=plan.device).permute(0, 3, 1, 2)
        labels = torch.randint(10, (batch_size,), device=plan.device)
        begin = time.perf_counter()
        trainer.step(images, labels, recipe.learning_rate)
        wait(plan.device)
        first = time.perf_counter() - begin
        seconds = seconds_of(lambda: trainer.step(images, labels, 0.001), plan)  # noqa: B023
        macs = layer_table(config).macs
        yield {
            "network": network,
            "macs": macs,
            "batch_norm": batch_norm,
            "batch_size": batch_size,
            "fused": fused,
            "first_step_s": round(first, 1),
            "step_ms": round(1000 * seconds, 3),
            "images_per_s": round(batch_size / seconds, 1),
            "share": round(6 * macs * batch_size / seconds / ceiling, 3),
        }


class Ladder:
    """Runs of every schedule and seed, trained when first asked for."""

    def __init__(self, images: Path, out: Path, fields: dict[str, Any]) -> None:
        self.images, self.out, self.fields = images, out, fields

    def run(self, epochs: int, seed: int) -> dict[str, Any]:
        """The summary of one run."""
        folder = self.out / f"{epochs}-epochs-seed-{seed}"
        run = train(self.images, out=folder, epochs=epochs, seed=seed, resume=True, **FAST, **self.fields)
        return run.summary or {}

    def test_accuracy(self, epochs: int, seed: int) -> float:
        """Of a run's best weights."""
        return evaluate(self.out / f"{epochs}-epochs-seed-{seed}").accuracy


def climbed(ladder: Ladder, targets: list[float], schedules: list[int], seeds: int) -> Iterator[dict[str, Any]]:
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


def times_to_accuracy(plan: Plan, images: Path, out: Path) -> Iterator[dict[str, Any]]:
    """With `fast`, after a training of one epoch in which everything is compiled."""
    fields = {"device": plan.device.type, **plan.fields, **plan.fast}
    begin = time.perf_counter()
    train(images, out=out / "runs" / "warm-up", epochs=1, resume=True, **FAST, **fields)
    yield {"warm_up_s": round(time.perf_counter() - begin, 1)}
    yield from peers(plan, images)
    for row in climbed(Ladder(images, out / "runs", fields), plan.targets, plan.schedules, plan.seeds):
        yield {**row, "fields": plan.fast}
        if row.get("epochs") and "target" in row:
            best = out / "runs" / f"{row['epochs']}-epochs-seed-0" / "best.safetensors"
            shutil.copy(best, out / f"fast-{row['epochs']}.safetensors")


def peers(plan: Plan, images: Path) -> Iterator[dict[str, Any]]:
    """airbench94, its whole recipe, compiled: its last line for each seed. A CPU would take it an hour."""
    for seed in range(plan.seeds if plan.device.type == "cuda" else 0):
        command = [sys.executable, str(PEER), str(images), "--device", "cuda", "--compiled", "--seed", str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        yield {"peer": "airbench94", **json.loads(done.stdout.splitlines()[-1])}


def long_trainings(plan: Plan, images: Path, out: Path) -> Iterator[dict[str, Any]]:
    """Accuracy of `squeezenet-late` with `modern` after many epochs; its weights are kept."""
    took = 0.0
    for epochs in plan.long:
        if plan.left < 1.1 * took * epochs:
            yield {"recipe": "modern", "epochs": epochs, "skipped": f"{plan.left:.0f} s left"}
            continue
        # Large batches, since a GPU is hardly filled by 64 images.
        fields = {"batch_size": 512, "device": plan.device.type, **plan.fields}
        place, begin = out / "runs" / f"modern-{epochs}", time.monotonic()
        run = train(images, out=place, network="squeezenet-late", recipe="modern", epochs=epochs, resume=True, **fields)
        took = (time.monotonic() - begin) / epochs
        shutil.copy(run.folder / "best.safetensors", out / f"modern-{epochs}.safetensors")
        yield {"recipe": "modern", **(run.summary or {})}


def rows(plan: Plan, images: Path, out: Path) -> Iterator[dict[str, Any]]:
    """Everything, what matters most first."""
    ceiling = matrix_rate(plan)
    yield {"matrix_tflops": round(ceiling / 1e12, 3), "precision": plan.precision, "torch": torch.__version__}
    yield from step_rates(plan, ceiling)
    yield from times_to_accuracy(plan, images, out)
    yield from long_trainings(plan, images, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--seconds", type=float, default=600, help="the second long training is left out if it ended later")
    parser.add_argument("--epochs", nargs="+", type=int, default=[4, 6, 8, 10, 12, 16, 20, 24, 32, 40])
    parser.add_argument("--fields", nargs="*", default=[], help="of network or recipe `fast`, as name=value (JSON)")
    arguments = parser.parse_args()
    fields = {name: json.loads(value) for name, value in (field.split("=", 1) for field in arguments.fields)}
    plan = Plan(arguments.dry_run, arguments.seconds, arguments.epochs, fields)
    for row in rows(plan, arguments.images, arguments.out):
        print(json.dumps({"device": plan.name, **row}), flush=True)
