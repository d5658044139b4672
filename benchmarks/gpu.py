"""What benchmarks/gpu.sh measures: speed of a step, time to an accuracy, and accuracy of long trainings, on one GPU."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch

from squeezekit import train
from squeezekit.images.batches import Batches
from squeezekit.images.digits import load_digits
from squeezekit.networks import network_config
from squeezekit.networks.layer_table import layer_table
from squeezekit.training.loop import Trainer
from squeezekit.training.recipe import RECIPES
from time_to_accuracy import Ladder
from time_to_accuracy import rows as time_to_accuracy


class Plan:
    """How much to measure: on a GPU all that fits in ten minutes, in a dry run a taste of each."""

    def __init__(self, dry: bool) -> None:
        self.device = torch.device("cpu" if dry else "cuda")
        self.name = "dry run" if dry else torch.cuda.get_device_name()
        self.precision = "fp32" if dry else "bf16"
        self.side = 256 if dry else 8192
        self.steps = 1 if dry else 30
        self.batch_sizes = (8,) if dry else (512, 2048)
        self.compiled = (False,) if dry else (False, True)
        self.targets = [0.05] if dry else [0.90, 0.92, 0.93, 0.94]
        self.schedules = [1] if dry else [4, 6, 8, 10, 12, 16, 20, 24, 32, 40]
        self.seeds = 2 if dry else 5
        self.long = (1,) if dry else (100, 200)
        self.fields: dict[str, Any] = {"limit": 300} if dry else {}


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object], times: int, device: torch.device) -> float:
    """Of one call: the mean of many in a row, as training makes them, after a few to warm up."""
    for _ in range(3):
        work()
    wait(device)
    begin = time.perf_counter()
    for _ in range(times):
        work()
    wait(device)
    return (time.perf_counter() - begin) / times


def matrix_rate(plan: Plan) -> float:
    """Floating-point operations/s of a large matrix product."""
    dtype = torch.bfloat16 if plan.precision == "bf16" else torch.float32
    a, b = (torch.rand(plan.side, plan.side, device=plan.device).to(dtype) for _ in range(2))
    return 2 * plan.side**3 / seconds_of(lambda: a @ b, plan.steps, plan.device)


def step_rates(plan: Plan, ceiling: float) -> Iterator[dict[str, Any]]:
    """Images/s of a training step on images that lie on the device."""
    for network, batch_norm, batch_size, compiled in product(("report", "late"), (False, True), plan.batch_sizes, plan.compiled):
        config = network_config(network, batch_norm=batch_norm)
        recipe = RECIPES["modern"].model_copy(update={"precision": plan.precision, "batch_size": batch_size})
        unused = Batches(load_digits(image_size=32, channels=3).training, batch_size=batch_size, device=plan.device)
        trainer = Trainer(config.build(), recipe, unused, unused, seed=0, device=plan.device)
        trainer.network.train()
        if compiled:
            torch.compiler.reset()
            trainer.network.compile(mode="reduce-overhead", dynamic=False)
        images = torch.rand(batch_size, 32, 32, 3, device=plan.device).permute(0, 3, 1, 2)
        labels = torch.randint(10, (batch_size,), device=plan.device)
        seconds = seconds_of(lambda: trainer.step(images, labels, 0.01), plan.steps, plan.device)  # noqa: B023
        macs = layer_table(config).macs
        yield {
            "network": network,
            "macs": macs,
            "batch_norm": batch_norm,
            "batch_size": batch_size,
            "compiled": compiled,
            "step_ms": round(1000 * seconds, 3),
            "images_per_s": round(batch_size / seconds, 1),
            "share": round(6 * macs * batch_size / seconds / ceiling, 3),
        }


def long_trainings(plan: Plan, images: Path, out: Path) -> Iterator[dict[str, Any]]:
    """Accuracy of `late` with `modern` after many epochs; its weights are kept."""
    for epochs in plan.long:
        # Large batches, at the rate that goes with them, since a GPU is hardly filled by 64 images.
        fields = {"batch_size": 512, "learning_rate": 0.4, "device": plan.device.type, **plan.fields}
        place = out / "runs" / f"modern-{epochs}"
        run = train(images, out=place, network="late", recipe="modern", epochs=epochs, resume=True, **fields)
        shutil.copy(run.folder / "best.safetensors", out / f"modern-{epochs}.safetensors")
        yield {"recipe": "modern", **(run.summary or {})}


def rows(plan: Plan, images: Path, out: Path) -> Iterator[dict[str, Any]]:
    """Everything, what matters most first."""
    ceiling = matrix_rate(plan)
    yield {"matrix_tflops": round(ceiling / 1e12, 3), "precision": plan.precision, "torch": torch.__version__}
    yield from step_rates(plan, ceiling)
    ladder = Ladder(images, out / "runs", {"device": plan.device.type, **plan.fields})
    for row in time_to_accuracy(ladder, plan.targets, plan.schedules, plan.seeds):
        yield row
        if row.get("epochs") and "target" in row:
            best = out / "runs" / f"{row['epochs']}-epochs-seed-0" / "best.safetensors"
            shutil.copy(best, out / f"fast-{row['epochs']}.safetensors")
    yield from long_trainings(plan, images, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    plan = Plan(arguments.dry_run)
    for row in rows(plan, arguments.images, arguments.out):
        print(json.dumps({"device": plan.name, **row}), flush=True)
