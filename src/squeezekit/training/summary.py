"""The results of a finished run, as `summary.json` holds them."""

from __future__ import annotations

import platform
import statistics
import subprocess
from pathlib import Path
from typing import Any

import torch
from torch import nn

from squeezekit.system.version import version
from squeezekit.training.loop import Trainer
from squeezekit.training.measurement import Measurement
from squeezekit.training.run_folder import Run


def summarise(
    run: Run, network: nn.Module, trainer: Trainer, validation: Measurement, test: Measurement | None
) -> dict[str, Any]:
    """`seconds` is all of the training, validation after each epoch included; `images_per_s` an epoch's training alone."""
    history = trainer.progress.history
    return {
        "run": str(run.folder),
        "network": run.config.network.name,
        "recipe": run.config.recipe.name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "epochs": len(history),
        "best_epoch": trainer.stopping.best_epoch,
        "seconds": history[-1]["seconds"],
        "images_per_s": statistics.median(row["images_per_s"] for row in history),
        "untrained_loss": trainer.progress.untrained_loss,
        "validation": vars(validation),
        **({"test": vars(test)} if test else {}),
        "data": run.data["source"],
        "fingerprint": run.data["fingerprint"],
        "precision": run.config.recipe.precision,
        "versions": {
            "squeezekit": version(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "commit": _commit(Path(__file__).parents[3]),
    }


def _commit(root: Path) -> str | None:
    """The commit that squeezekit runs from, `-dirty` behind it when files have changed; None when it is installed."""
    if not (root / ".git").exists() or not (root / "src" / "squeezekit").is_dir():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
