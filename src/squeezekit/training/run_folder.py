"""The run folder: everything about one training, written so that a kill at any instant loses nothing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from squeezekit.data.splits import Split
from squeezekit.networks.weights import read_saved
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.run_presentation import RunPresentation
from squeezekit.training.settings import RunConfig, read_config

# Weights that training starts from, when they are not those of a file of the user's.
START = "start.safetensors"
METRICS = (
    "epoch",
    "seconds",
    "learning_rate",
    "training_loss",
    "training_accuracy",
    "validation_loss",
    "validation_accuracy",
    "images_per_s",
)


class Run(RunPresentation):
    """A run folder.

    `last.pt` is the one source of truth while training goes on; the other files follow from it and are written
    again on resuming. Files: config.toml, data.json, split.npz, metrics.csv, tensorboard/, best.safetensors,
    last.pt, summary.json, and start.safetensors where training started from another network.
    """

    def __init__(self, folder: Path) -> None:
        """Open a folder that holds a run; raises SqueezekitError."""
        if not (folder / "config.toml").is_file():
            raise SqueezekitError(f"{folder}: not a run folder (config.toml is missing); give one that train has made")
        self.folder = folder
        self.config = read_config(folder / "config.toml")

    @classmethod
    def create(
        cls, folder: Path, config: RunConfig, data: dict[str, Any], split: Split, start: dict[str, Tensor] | None = None
    ) -> Run:
        """Make the folder of a new run; `data` tells of its images, `start` are weights to start from."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_io.replacing(folder / "split.npz") as file:
            np.savez_compressed(file, training=split.training.astype(np.int32), validation=split.validation.astype(np.int32))
        atomic_io.write_text(folder / "data.json", json.dumps(data, indent=2) + "\n")
        if start:
            atomic_io.write_bytes(folder / START, save({name: tensor.contiguous() for name, tensor in start.items()}))
        # Last, since a folder with config.toml is a run.
        atomic_io.write_text(folder / "config.toml", config.to_toml())
        return cls(folder)

    @property
    def data(self) -> dict[str, Any]:
        """`source`, `classes`, `fingerprint` and the like of the images trained on."""
        return self._json("data.json")

    def weights_digest(self) -> str:
        """SHA-256 of the best weights, in hex; raises SqueezekitError."""
        try:
            return hashlib.sha256((self.folder / "best.safetensors").read_bytes()).hexdigest()
        except OSError as error:
            raise SqueezekitError(f"{self.folder}: has no weights ({error.strerror}); let its training finish") from None

    @property
    def start_weights(self) -> Path | None:
        """The file of weights that training starts from, if any."""
        if (self.folder / START).exists():
            return self.folder / START
        return Path(self.config.run.weights) if self.config.run.weights else None

    @property
    def fingerprints(self) -> tuple[str, str]:
        """Of the training images (validation included) and of the test images."""
        data = self.data
        return data["fingerprint"], data["test_fingerprint"]

    @property
    def summary(self) -> dict[str, Any] | None:
        """The results of a finished run."""
        return self._json("summary.json") if (self.folder / "summary.json").exists() else None

    @property
    def split(self) -> Split:
        """Which images trained and which validated."""
        try:
            with np.load(self.folder / "split.npz", allow_pickle=False) as arrays:
                return Split(arrays["training"].astype(np.int64), arrays["validation"].astype(np.int64))
        except (OSError, ValueError, KeyError) as error:
            raise SqueezekitError(f"{self.folder / 'split.npz'}: damaged ({error}); train again") from None

    def network(self) -> nn.Module:
        """The network with its best weights, ready for use."""
        network = self.config.network.build()
        path = self.folder / "best.safetensors"
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            problem = str(error).splitlines()[0]
            raise SqueezekitError(f"{path}: cannot be loaded ({problem}); let the training finish an epoch") from None
        return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def checkpoint(self) -> dict[str, Any] | None:
        """What `save_checkpoint` wrote last, or None."""
        path = self.folder / "last.pt"
        if not path.exists():
            return None
        try:
            return read_saved(path)  # type: ignore[no-any-return]
        except ValueError as error:
            raise SqueezekitError(f"{path}: damaged ({error}); delete it to start this run over") from None

    def save_checkpoint(self, state: dict[str, Any], history: list[dict[str, float]], best: dict[str, Tensor]) -> None:
        """Keep the state to go on from, then what follows from it."""
        with atomic_io.replacing(self.folder / "last.pt") as file:
            torch.save(state, file)
        self.write_metrics(history)
        if best:
            self.write_best(best)

    def write_metrics(self, history: list[dict[str, float]]) -> None:
        """One row an epoch."""
        text = io.StringIO()
        writer = csv.DictWriter(text, METRICS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        atomic_io.write_text(self.folder / "metrics.csv", text.getvalue())

    def write_best(self, weights: dict[str, Tensor]) -> None:
        """The best weights so far. Equal weights give equal files: one metadata key, no times, no paths."""
        contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
        metadata = {"squeezekit": self.config.network.model_dump_json()}
        atomic_io.write_bytes(self.folder / "best.safetensors", save(contiguous, metadata))

    def write_summary(self, summary: dict[str, Any]) -> None:
        """The results, with which the run is finished."""
        atomic_io.write_text(self.folder / "summary.json", json.dumps(summary, indent=2) + "\n")

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SqueezekitError(f"{self.folder / name}: cannot be read ({error}); train again") from None
        return content
